"""The SHA-256 of files of weights, read once: gigabytes are not hashed at every start.

A file of the hub's cache is named by it already. Of any other it is noted in the cache, beside the file's size and
times: a file that was written since has others.
"""

import hashlib
import json
import re
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from os import stat_result
from pathlib import Path
from tempfile import NamedTemporaryFile

from deemo_dist.digests import canonical_json, sha256_bytes
from deemo_dist.weights.cache import cache_folder

SETTLED_SECONDS = 2.0
"""A file younger than that may still be written to within one tick of its clock: nothing is noted of it."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_AT_ONCE = 4


def digests_of(paths: Iterable[Path]) -> list[str]:
    """Hex SHA-256 of each file. Raises ``OSError`` for one that cannot be read."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(digest_of_file, paths))


def digest_of_file(path: Path) -> str:
    """Hex SHA-256 of one file, out of its name, the cache's note or its bytes. Raises ``OSError``."""
    path = path.resolve()
    if path.parent.name == "blobs" and _SHA256.fullmatch(path.name):
        return path.name
    note = cache_folder() / "digests" / f"{sha256_bytes(str(path).encode())[:32]}.json"
    before = _mark(path.stat())
    noted = _noted(note, before)
    if noted is not None:
        return noted
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    after = path.stat()
    if _mark(after) == before and time.time() - max(after.st_mtime, after.st_ctime) > SETTLED_SECONDS:
        _write(note, {"file": before, "sha256": digest})
    return digest


def _mark(found: stat_result) -> list[int]:
    """What differs once a file has been written to; the time of its last change cannot be set by hand."""
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _noted(note: Path, mark: list[int]) -> str | None:
    try:
        known = json.loads(note.read_text())
        return str(known["sha256"]) if known["file"] == mark else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(note: Path, known: dict[str, object]) -> None:
    """Put a note in place whole. Without one the file is merely hashed again."""
    with suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=note.parent, delete=False) as part:
            part.write(canonical_json(known))
        Path(part.name).replace(note)
