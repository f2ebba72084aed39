"""What this room asks of a store: the part of ``storage.Store`` it uses, so that any store with it will do."""

from typing import Protocol


class Door(Protocol):
    """Keys to bytes. Reads of what is not there raise ``NotFoundError``, ``put_new`` ``AlreadyExistsError``."""

    def get(self, key: str) -> bytes:
        """All bytes of ``key``."""
        ...

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """``length`` bytes from ``start``."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write ``key`` whole, over what was there."""
        ...

    def put_new(self, key: str, data: bytes) -> None:
        """Write ``key`` unless it exists."""
        ...

    def exists(self, key: str) -> bool:
        """Whether ``key`` is there."""
        ...

    def size(self, key: str) -> int:
        """Bytes of ``key``."""
        ...

    def list(self, prefix: str) -> list[str]:
        """Sorted keys below ``prefix``."""
        ...
