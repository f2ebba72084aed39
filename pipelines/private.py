"""Where a raw clip is while it is worked on: a folder of one's own, in memory and never for long."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from deemo_dist.config import StorageConfig
from deemo_dist.console import hiding
from deemo_dist.deid.terms import telling_words
from deemo_dist.errors import ConfigError, DeemoError, NoSpaceError
from deemo_dist.execution import placed
from deemo_dist.records import Clip
from deemo_dist.storage import fetch_uri

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
def private_folder(chosen: str | None = None) -> Iterator[Path]:
    """A fresh folder (0700) that is gone afterwards, with what others left behind who were killed inside one.

    It is made in ``chosen``, else where memory can be written to (``/dev/shm``), so that raw clips never touch a disk,
    else in the temporary folder. Raises ``ConfigError`` for a chosen one that is no folder to write to.
    """
    base = private_base(chosen)
    sweep(base)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def hiding_clip(clip: Clip) -> AbstractContextManager[None]:
    """Keep who a clip shows and what it says out of every line that is logged meanwhile: its place, its person's name
    whole and by each word that is no ordinary one, its texts."""
    return hiding(clip.uri, clip.subject, clip.transcript, *clip.texts.values(), words=telling_words(clip.subject))


def private_base(chosen: str | None) -> Path:
    """Where private folders are made; see :func:`private_folder`."""
    if chosen is None:
        return Path(MEMORY if os.access(MEMORY, os.W_OK) else tempfile.gettempdir())
    base = Path(chosen).expanduser()
    if not (base.is_dir() and os.access(base, os.W_OK)):
        raise ConfigError(
            f"execution.raw_folder is {base}, which is no folder that can be written to on this machine",
            hint="make it, or mount a tmpfs there, on every machine that preprocesses",
        )
    return base


def fetch_raw(clip: Clip, storage: StorageConfig, into: Path, *, label: str) -> Path:
    """A raw clip as the file ``into`` in a private folder. Raises as ``fetch_uri``, and ``DeemoError`` where the folder
    is too small for the clip, which is the machine's fault and not the clip's."""
    check_room(into.parent, clip.size_bytes, label)
    try:
        return fetch_uri(clip.uri, storage, into=into, label=label)
    except NoSpaceError:
        raise _too_small(into.parent, label, "more than there is") from None


def check_room(folder: Path, needed: int, what: str) -> None:
    """Raise ``DeemoError`` where the file system of ``folder`` has fewer than ``needed`` bytes free for ``what``."""
    if needed > shutil.disk_usage(folder).free:
        raise _too_small(folder, what, f"{_megabytes(needed)} MB")


def _too_small(folder: Path, what: str, needed: str) -> DeemoError:
    """Sizes to the million bytes: an exact one would tell which file it is."""
    usage = shutil.disk_usage(folder)
    base = folder.parent if folder.name.startswith(PREFIX) else folder
    room = f"{usage.free // 10**6} MB of {usage.total // 10**6} are free"
    return DeemoError(
        f"{what} needs {needed} in {base}, where {room}: raw clips are kept there while they are worked on",
        hint="make it larger (a container's: docker run --shm-size=8g, in Kubernetes an emptyDir of medium Memory at "
        "/dev/shm), set execution.raw_folder to a larger tmpfs, or lower execution.workers",
    )


def _megabytes(count: int) -> int:
    """Rounded up."""
    return -(-count // 10**6)


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
