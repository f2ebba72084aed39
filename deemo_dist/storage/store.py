"""The interface of a store: immutable-minded objects by key below one root."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SINGLE_PUT_BYTES = 5 * 2**30
"""S3 takes one PUT up to 5 GiB. Below, an object appears whole or not at all, and its copy is one request too."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What a store holds under a key: bytes, when it was written (Unix seconds by the store's clock).

    Of a bucket with versions, one version of it: ``current`` or an older one, or the ``marker`` that hides them.
    """

    key: str
    size: int
    modified: float
    version: str | None = None
    current: bool = True
    marker: bool = False


class Store(ABC):
    """Objects by key below ``root`` (a URI). Safe for threads; picklable: a copy in another process opens anew.

    Every method raises ``StorageError`` (what, where, what to do) when the store cannot be used, ``NotFoundError``
    where the object is missing, and ``StorageError`` for a key that is absolute or holds ``..``.
    """

    root: str

    @abstractmethod
    def uri(self, key: str) -> str:
        """The full URI of ``key``, readable by ``read_uri``."""

    @abstractmethod
    def get(self, key: str) -> bytes:
        """The whole object; ``NotFoundError`` when there is none."""

    @abstractmethod
    def get_range(self, key: str, start: int, length: int) -> bytes:
        """``length`` bytes from ``start``; ``CorruptDataError`` when the object ends before."""

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Write or replace the object, at once: a reader sees the old or the new one, never a part."""

    @abstractmethod
    def put_new(self, key: str, data: bytes) -> None:
        """Write the object only if the key is free; ``AlreadyExistsError`` otherwise. One of many writers wins."""

    @abstractmethod
    def put_chunks(self, key: str, chunks: Sequence[bytes]) -> None:
        """As :meth:`put`, of an object given in pieces, which are never joined in memory."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Whether the object is there."""

    @abstractmethod
    def size(self, key: str) -> int:
        """Bytes of the object; ``NotFoundError`` when there is none."""

    @abstractmethod
    def list(self, prefix: str) -> list[str]:
        """Sorted keys of all objects in the folder ``prefix`` and below; all objects when it is empty."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove the object; nothing happens when there is none."""

    @abstractmethod
    def entries(self, prefix: str) -> Sequence[Stored]:
        """What :meth:`list` names, with sizes and times; sorted by key."""

    @abstractmethod
    def stat(self, key: str) -> Stored:
        """Size and time of one object as it is now; ``NotFoundError`` when there is none."""

    @abstractmethod
    def history(self, prefix: str) -> Sequence[Stored]:
        """Everything that is kept in the folder ``prefix`` and below: older versions, markers, half-written files."""

    @abstractmethod
    def read(self, stored: Stored) -> bytes:
        """The bytes of something that :meth:`history` named; ``NotFoundError`` when it is gone."""

    @abstractmethod
    def read_range(self, stored: Stored, start: int, length: int) -> bytes:
        """As :meth:`read`, ``length`` bytes from ``start``; ``CorruptDataError`` when it ends before."""

    @abstractmethod
    def remove(self, stored: Stored) -> None:
        """Remove something that :meth:`history` named, for good; nothing happens when it is gone."""

    @abstractmethod
    def copy(self, source: str, target: str) -> None:
        """Make ``target`` the same object as ``source`` (up to 5 GiB), without the bytes passing this machine."""

    @abstractmethod
    def clock(self) -> float:
        """Unix seconds by the clock that :attr:`Stored.modified` is told by."""

    @abstractmethod
    def local_path(self, key: str) -> Path | None:
        """Where the object is (or would be) as a file; ``None`` in a bucket."""

    @abstractmethod
    def upload(self, path: Path, key: str) -> None:
        """Write the file ``path`` as the object ``key``, without holding it in memory."""

    @abstractmethod
    def download(self, key: str, path: Path) -> None:
        """Write the object to the file ``path`` (folders are made), whole or not at all."""
