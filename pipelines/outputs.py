"""Files that a command is asked to write: refused before the work whose result they would hold."""

import os
from pathlib import Path

from deemo_dist.errors import ConfigError


def check_output(path: Path, option: str) -> None:
    """Look whether the file that ``option`` names can be written; nothing is made. Raises ``ConfigError``."""
    if path.is_dir():
        raise ConfigError(f"{option} {path}: it is a folder", hint="name a file in it")
    folder = next(above for above in path.absolute().parents if above.exists())
    if not folder.is_dir():
        raise ConfigError(f"{option} {path}: {folder} is a file, not a folder", hint="choose another place")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise ConfigError(
            f"{option} {path}: it cannot be written", hint="check owner and mode, or choose another place"
        )
