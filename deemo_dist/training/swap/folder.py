"""Where a rank swaps to: a folder of its own on a local disk, checked beforehand and removed at the end.

Folders are held by a lock that dies with its process, so that what a killed rank left is known for such and removed by
the next rank that comes to this disk, of whichever run.
"""

import errno
import fcntl
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deemo_dist.errors import TrainingError
from deemo_dist.training.ranks import Ranks

SWAP_BYTES = 36
"""Bytes of the disk for each trained element that a rank owns: the fp32 copy with Adam's two moments, the snapshot that
a checkpoint is written from, and what is read back of one before it is applied."""
PREFIX = "deemo-swap-"
_OWNER = "owner"


class SwapFolder:
    """``path``: this rank's folder under ``root``, empty at first. Raises ``TrainingError`` where there is no such
    folder, or none that can be written."""

    def __init__(self, root: str, rank: int) -> None:
        self.root = Path(root)
        check_root(root)
        try:
            with _alone(self.root):
                _sweep(self.root)
                self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}rank{rank:05d}-", dir=self.root))
                self._owner = os.open(self.path / _OWNER, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
                fcntl.flock(self._owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise _refused(self.root, 0, error) from error

    @contextmanager
    def reserved(self, size: int) -> Iterator[None]:
        """Hold ``size`` bytes of the disk for a while. Raises ``TrainingError`` where they are not there."""
        file = self._file(size)
        try:
            yield
        finally:
            os.close(file)

    def buffer(self, size: int) -> mmap.mmap:
        """So many bytes of the disk, mapped; they are free again when nobody holds them. Raises ``TrainingError``
        where they are not there: a mapped hole would end the process at the first write."""
        file = self._file(size)
        try:
            return mmap.mmap(file, size)
        finally:
            os.close(file)

    def remove(self) -> None:
        """Remove the folder with all that is in it. Again: nothing."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._owner >= 0:
            os.close(self._owner)
            self._owner = -1

    def _file(self, size: int) -> int:
        """A nameless file of ``size`` bytes that are really there."""
        file, name = tempfile.mkstemp(dir=self.path)
        Path(name).unlink()
        try:
            os.posix_fallocate(file, 0, max(1, size))
        except OSError as error:
            os.close(file)
            raise _refused(self.root, size, error) from error
        return file


def swap_folder(root: str, trained: Iterable[int], ranks: Ranks) -> SwapFolder:
    """This rank's folder under ``root``, on a disk where there is room for all ranks that swap trained parameters of so
    many elements to it. A collective; raises ``TrainingError`` on every rank where one cannot have it."""
    folder: SwapFolder | None = None
    error: TrainingError | None = None
    with ExitStack() as held:
        try:
            folder = SwapFolder(root, ranks.rank)
            held.enter_context(folder.reserved(swap_bytes(trained, ranks.world)))
        except TrainingError as found:
            error = found
        agreed = ranks.all_agree(error is None)
    if agreed and folder is not None:
        return folder
    if folder is not None:
        folder.remove()
    raise error or TrainingError("another rank cannot swap to its engine.nvme_path", hint="look at what that one says")


def swap_bytes(trained: Iterable[int], world: int) -> int:
    """Bytes of the disk that one of ``world`` ranks needs for trained parameters of so many elements."""
    return SWAP_BYTES * sum(-(-elements // world) for elements in trained)


@contextmanager
def removed_on_failure(folder: SwapFolder | None) -> Iterator[None]:
    """Remove the folder when what is done meanwhile fails."""
    try:
        yield
    except BaseException:
        if folder is not None:
            folder.remove()
        raise


def check_root(root: str) -> None:
    """Refuse a folder that cannot be swapped to. Raises ``TrainingError``."""
    folder = Path(root)
    if not folder.is_dir():
        raise TrainingError(
            f"engine.nvme_path {root} is no folder of this machine", hint="make it on a local disk of every node"
        )
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _refused(folder, 0, error) from error


def check_room(root: str, size: int) -> None:
    """Refuse a disk with fewer than ``size`` bytes free. Raises ``TrainingError``."""
    free = shutil.disk_usage(root).free
    if free < size:
        raise _no_room(Path(root), size, free)


def _refused(root: Path, size: int, error: OSError) -> TrainingError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return _no_room(root, size, shutil.disk_usage(root).free)
    return TrainingError(
        f"engine.nvme_path {root} cannot be written: {error.strerror}", hint="another folder, or its permissions"
    )


def _no_room(root: Path, size: int, free: int) -> TrainingError:
    return TrainingError(
        f"engine.nvme_path {root} has {free / 2**30:.2f} GiB free, swapping needs {size / 2**30:.2f}",
        hint="free some, name a larger disk, or engine.offload=cpu",
    )


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Alone in the folder among the processes of this machine: none sees another's before it is held."""
    file = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _sweep(root: Path) -> None:
    """Remove the folders whose process is gone."""
    for folder in root.glob(f"{PREFIX}*"):
        try:
            owner = os.open(folder / _OWNER, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            shutil.rmtree(folder, ignore_errors=True)
            continue
        except OSError:
            continue
        try:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue
        finally:
            os.close(owner)
