"""Writing files whole: a temporary neighbour, fsync, then rename or link. Faults become ``StorageError``."""

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from deemo_dist.errors import AlreadyExistsError, NoSpaceError, NotFoundError, StorageError
from deemo_dist.storage.keys import TEMPORARY

VECTOR = min(1024, os.sysconf("SC_IOV_MAX"))
"""Pieces that one ``writev`` takes."""

AHEAD = 16 * 2**20
"""Bytes after which the disk is set to work, while the rest is still on its way from memory."""

_HINTS: dict[int, str] = {
    errno.ENOSPC: "free some space, or choose another storage.root",
    errno.EDQUOT: "the quota is used up: free some space, or choose another storage.root",
    errno.EROFS: "the file system is read-only: choose another storage.root",
    errno.EACCES: "check the owner and mode of the folder, or choose another storage.root",
    errno.EPERM: "check the owner and mode of the folder, or choose another storage.root",
    errno.ENOTDIR: "a file stands where a folder is needed: remove it, or choose another storage.root",
    errno.EEXIST: "a file stands where a folder is needed: remove it, or choose another storage.root",
    errno.EISDIR: "a folder stands where a file is needed",
    errno.ENAMETOOLONG: "use shorter names",
    errno.EOPNOTSUPP: "of several writers the one whose link stands comes first: choose another storage.root",
}


@contextmanager
def translated(verb: str, label: str, where: str) -> Iterator[None]:
    """Turn ``OSError`` into one line: what could not be done to ``label``, where, and what to do."""
    try:
        yield
    except FileNotFoundError:
        raise NotFoundError(f"{label} is not in {where}", hint="check the key and storage.root") from None
    except (IsADirectoryError, NotADirectoryError) as error:
        if verb == "write":
            hint = _HINTS.get(error.errno or 0)
            raise StorageError(f"cannot write {label} in {where}: {error.strerror}", hint=hint) from None
        raise NotFoundError(f"{label} is no object in {where}", hint="check the key and storage.root") from None
    except OSError as error:
        hint = _HINTS.get(error.errno or 0)
        reason = error.strerror or type(error).__name__
        kind = NoSpaceError if error.errno in (errno.ENOSPC, errno.EDQUOT) else StorageError
        raise kind(f"cannot {verb} {label} in {where}: {reason}", hint=hint) from None


def write_whole(target: Path, fill: Callable[[BinaryIO], object], *, new: bool = False) -> None:
    """Let ``fill`` write a temporary neighbour of ``target``, flush it to disk and put it in place.

    ``new`` refuses to replace: ``AlreadyExistsError`` when the name is taken (a hard link decides, also over NFS).
    Raises ``OSError`` as it comes; the temporary file is removed in any case but the death of the process.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{uuid.uuid4().hex}{TEMPORARY}"
    try:
        with temporary.open("xb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        if new:
            _link(temporary, target)
        else:
            temporary.replace(target)
        _sync_folder(target.parent)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def write_chunks(file: BinaryIO, chunks: Sequence[bytes]) -> None:
    """Write pieces to a file of the disk as they lie in memory, many by one call; the disk begins with the first while
    the last are copied. Raises ``OSError`` as it comes."""
    file.flush()
    number, start = file.fileno(), file.tell()
    for pieces in _portions(chunks):
        size = sum(map(len, pieces))
        _write_all(number, pieces)
        with contextlib.suppress(OSError):  # advice: Linux begins to write out what is dirty, and waits for nothing
            os.posix_fadvise(number, start, size, os.POSIX_FADV_DONTNEED)
        start += size


def _portions(chunks: Sequence[bytes]) -> Iterator[list[bytes | memoryview]]:
    """The pieces, cut where they are large, in portions that one call takes: of about ``AHEAD`` bytes at most."""
    portion, filled = list[bytes | memoryview](), 0
    for chunk in chunks:
        for piece in (chunk,) if len(chunk) <= AHEAD else _cut(chunk):
            if len(portion) == VECTOR or (filled + len(piece) > AHEAD and portion):
                yield portion
                portion, filled = [], 0
            portion.append(piece)
            filled += len(piece)
    if portion:
        yield portion


def _cut(chunk: bytes) -> list[memoryview]:
    return [memoryview(chunk)[start : start + AHEAD] for start in range(0, len(chunk), AHEAD)]


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file to ``target`` by ``write_whole``."""
    with source.open("rb") as stream:
        write_whole(target, lambda file: shutil.copyfileobj(stream, file, 1 << 20))


def _write_all(number: int, pieces: Sequence[bytes | memoryview]) -> None:
    """``writev`` until all is written: a kernel may take less at once."""
    left = list(pieces)
    while left:
        done = os.writev(number, left)
        if done == sum(map(len, left)):
            return
        whole = 0
        while whole < len(left) and done >= len(left[whole]):
            done -= len(left[whole])
            whole += 1
        left = left[whole:]
        if done:
            left[0] = left[0][done:]


def _link(temporary: Path, target: Path) -> None:
    """The name for a file that is whole, where none has it. Over NFS a link may be made and its answer lost: the second
    try then finds this very file."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        if not temporary.samefile(target):
            raise AlreadyExistsError(f"{target.name} exists already") from None
    except PermissionError as error:
        if error.errno != errno.EPERM:
            raise
        raise OSError(errno.EOPNOTSUPP, "the file system has no hard links") from None


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
