"""Where a rank's stacks go when it stands still: a file of its own that a person finds, and standard error."""

import faulthandler
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

from deemo_dist.console import logger

ASK = signal.SIGQUIT
"""A launcher sends this to have a rank's stacks written, even by one that is stuck in native code."""


class Stacks:
    """``path``: this rank's file, empty until there is something to tell; None: standard error alone."""

    def __init__(self, folder: Path | None, rank: int) -> None:
        self.path: Path | None = None
        self.errors: IO[str] = sys.__stderr__ or sys.stderr  # a notebook's own has no file behind it
        self.file = self.errors
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self.file = (folder / f"rank-{rank:05d}.txt").open("w")
                self.path = (folder / f"rank-{rank:05d}.txt").absolute()
            except OSError as error:
                logger.warning("stacks would go to standard error: %s cannot be written (%s)", folder, error.strerror)
        faulthandler.register(ASK, file=self.file, all_threads=True, chain=False)

    def dump(self, why: str) -> None:
        """Write ``why`` and the stacks of all threads, to both places. ``why`` and the file's name come last once more:
        a launcher keeps a rank's last lines, which are fewer than its stacks have."""
        for file in {id(file): file for file in (self.file, self.errors)}.values():
            print(f"watchdog: {why}", file=file, flush=True)
            faulthandler.dump_traceback(file=file, all_threads=True)
        print(f"watchdog: {why}", file=self.errors, flush=True)
        if self.path is not None:
            print(f"watchdog: these stacks are in {self.path}, each rank's own beside it", file=self.errors, flush=True)

    def dump_later(self, seconds: float) -> None:
        """Dump and exit with 1 after ``seconds``, unless put off: by a thread that needs no interpreter."""
        faulthandler.dump_traceback_later(seconds, exit=True, file=self.file)

    def close(self) -> None:
        """Nothing happened: leave no file behind."""
        faulthandler.cancel_dump_traceback_later()
        faulthandler.unregister(ASK)
        if self.path is not None:
            self.file.close()
            with suppress(OSError):  # another process of the run may have removed it, or the folder was cleaned
                if not self.path.stat().st_size:
                    self.path.unlink()
