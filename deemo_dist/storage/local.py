"""Objects as files below a folder."""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from deemo_dist.errors import AlreadyExistsError, CorruptDataError, StorageError
from deemo_dist.storage.files import copy_whole, translated, write_chunks, write_whole
from deemo_dist.storage.keys import TEMPORARY, check_key, file_path, file_uri, folder_prefix, is_temporary
from deemo_dist.storage.store import Store, Stored


class LocalStore(Store):
    """Files below ``root``; folders are made as needed. Writes are atomic and flushed to disk."""

    def __init__(self, root: str) -> None:
        self.folder = Path(os.path.abspath(file_path(root)))  # noqa: PTH100 - without following links
        self.root = file_uri(self.folder)

    def uri(self, key: str) -> str:
        """file:// URI of ``key``."""
        return file_uri(self._path(key))

    def get(self, key: str) -> bytes:
        """The whole file."""
        path = self._path(key)
        with translated("read", key, self.root):
            return path.read_bytes()

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """``length`` bytes from ``start``."""
        return self._range(self._path(key), key, start, length)

    def put(self, key: str, data: bytes) -> None:
        """Write or replace by rename."""
        path = self._path(key)
        with translated("write", key, self.root):
            write_whole(path, lambda file: file.write(data))

    def put_new(self, key: str, data: bytes) -> None:
        """Write if the name is free, decided by a hard link."""
        path = self._path(key)
        try:
            with translated("write", key, self.root):
                if path.exists():
                    raise AlreadyExistsError("taken")
                write_whole(path, lambda file: file.write(data), new=True)
        except AlreadyExistsError:
            raise AlreadyExistsError(f"{key} exists already in {self.root}") from None

    def put_chunks(self, key: str, chunks: Sequence[bytes]) -> None:
        """Write or replace by rename, from where the pieces lie."""
        path = self._path(key)
        with translated("write", key, self.root):
            write_whole(path, lambda file: write_chunks(file, chunks))

    def exists(self, key: str) -> bool:
        """Whether the file is there."""
        path = self._path(key)
        with translated("look at", key, self.root):
            return path.is_file()

    def size(self, key: str) -> int:
        """Bytes of the file."""
        path = self._path(key)
        with translated("look at", key, self.root):
            if path.is_dir():
                raise IsADirectoryError
            return path.stat().st_size

    def list(self, prefix: str) -> list[str]:
        """Sorted keys below the folder ``prefix``; half-written files are left out."""
        return [stored.key for stored in self.entries(prefix)]

    def entries(self, prefix: str) -> Sequence[Stored]:
        """Files below the folder ``prefix``; half-written ones are left out."""
        return [stored for stored in self.history(prefix) if not is_temporary(stored.key.rpartition("/")[2])]

    def stat(self, key: str) -> Stored:
        """Size and time of the file."""
        path = self._path(key)
        with translated("look at", key, self.root):
            if path.is_dir():
                raise IsADirectoryError
            state = path.stat()
        return Stored(key=key, size=state.st_size, modified=state.st_mtime)

    def history(self, prefix: str) -> Sequence[Stored]:
        """All files below the folder ``prefix``."""
        start = self.folder / folder_prefix(prefix)
        with translated("list", prefix or "everything", self.root):
            return sorted((found for path in _files_below(start) if (found := self._stored(path))), key=_key)

    def read(self, stored: Stored) -> bytes:
        """The file's bytes."""
        with translated("read", stored.key, self.root):
            return (self.folder / stored.key).read_bytes()

    def read_range(self, stored: Stored, start: int, length: int) -> bytes:
        """``length`` bytes of the file from ``start``."""
        return self._range(self.folder / stored.key, stored.key, start, length)

    def remove(self, stored: Stored) -> None:
        """Remove the file if it is there."""
        with translated("delete", stored.key, self.root):
            (self.folder / stored.key).unlink(missing_ok=True)

    def copy(self, source: str, target: str) -> None:
        """Copy a file; its bytes are the target's alone."""
        origin, path = self._path(source), self._path(target)
        with translated("read", source, self.root):
            origin.stat()
        with translated("write", target, self.root):
            copy_whole(origin, path)

    def clock(self) -> float:
        """The clock of the file system, by a file made for it: over NFS that is the server's. This machine's where
        nothing can be written."""
        try:
            with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".", suffix=TEMPORARY) as file:
                return Path(file.name).stat().st_mtime
        except OSError:
            return time.time()

    def delete(self, key: str) -> None:
        """Remove the file if it is there."""
        path = self._path(key)
        with translated("delete", key, self.root), contextlib.suppress(NotADirectoryError):
            path.unlink(missing_ok=True)

    def local_path(self, key: str) -> Path | None:
        """The file itself."""
        return self._path(key)

    def upload(self, path: Path, key: str) -> None:
        """Copy the file in."""
        target = self._path(key)
        with translated("read", key, "the folder it is uploaded from"):
            path.stat()
        with translated("write", key, self.root):
            copy_whole(path, target)

    def download(self, key: str, path: Path) -> None:
        """Copy the file out."""
        source = self._path(key)
        with translated("copy", key, self.root):
            copy_whole(source, path)

    def _range(self, path: Path, key: str, start: int, length: int) -> bytes:
        _check_range(key, start, length)
        with translated("read", key, self.root), path.open("rb") as file:
            file.seek(start)
            data = file.read(length)
        if len(data) != length:
            raise short_object(key, self.root, start, length, len(data))
        return data

    def _path(self, key: str) -> Path:
        return self.folder / check_key(key)

    def _stored(self, path: Path) -> Stored | None:
        """A file as an entry; None where it went away meanwhile."""
        try:
            state = path.stat()
        except FileNotFoundError:
            return None
        return Stored(key=path.relative_to(self.folder).as_posix(), size=state.st_size, modified=state.st_mtime)


def short_object(key: str, where: str, start: int, length: int, got: int) -> CorruptDataError:
    """The error for an object that ends before a wanted range does."""
    return CorruptDataError(
        f"{key} in {where} ends early: {got} of {length} bytes from {start}",
        hint="the object is damaged or its index belongs to another one: verify the dataset",
    )


def _files_below(start: Path, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Path]:
    """All files, behind links to folders too; a link to one of the folders ``above`` (device, inode) leads in a circle
    and nowhere."""
    try:
        state = start.stat()
        entries = sorted(os.scandir(start), key=lambda entry: entry.name)
    except FileNotFoundError:  # a folder that is not there has no keys; one that cannot be read is an error
        return
    here = state.st_dev, state.st_ino
    for entry in entries if here not in above else ():
        if entry.is_dir():
            yield from _files_below(Path(entry.path), above | {here})
        else:
            yield Path(entry.path)


def _key(stored: Stored) -> str:
    return stored.key


def _check_range(key: str, start: int, length: int) -> None:
    if start < 0 or length < 0:
        raise StorageError(f"{key}: no range starts at {start} with {length} bytes")
