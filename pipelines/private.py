"""Where a raw clip is while it is worked on: a folder of one's own, in memory and never for long."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deemo_dist.errors import DeemoError
from deemo_dist.execution import placed

MEMORY = "/dev/shm"  # noqa: S108 - a fresh 0700 folder is made inside
PREFIX = "deemo-raw-"
YOUNG_SECONDS = 60.0


@contextmanager
def by_place() -> Iterator[None]:
    """For what reads raw data: an unexpected exception becomes a ``DeemoError`` that tells its type and place, with no
    trace of the exception itself, whose text may quote a path, a name or a transcript. Serves as a decorator too."""
    try:
        yield
    except (DeemoError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, its text stays here
        raise placed(error) from None


@contextmanager
def private_folder() -> Iterator[Path]:
    """A fresh folder (0700) that is gone afterwards, with what others left behind who were killed inside one.

    Where memory can be written to (``/dev/shm``), raw clips never touch a disk; else in the temporary folder.
    """
    base = Path(MEMORY if os.access(MEMORY, os.W_OK) else tempfile.gettempdir())
    sweep(base)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def sweep(base: Path) -> int:
    """Remove the folders in ``base`` whose process has ended (its lock on them ended with it); how many there were.

    Other people's are left alone, and so are those made a moment ago, which their owner may not have locked yet.
    """
    removed = 0
    for folder in base.glob(f"{PREFIX}*"):
        try:
            state = folder.stat()
            if state.st_uid != os.getuid() or time.time() - state.st_ctime < YOUNG_SECONDS:
                continue
            lock = os.open(folder, os.O_RDONLY)
        except OSError:  # gone meanwhile
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
        finally:
            os.close(lock)
    return removed
