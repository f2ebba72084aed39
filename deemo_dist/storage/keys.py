"""Keys and URIs: what a key may look like, and how a URI splits into its parts."""

import re
from pathlib import Path
from urllib.parse import quote, unquote

from deemo_dist.errors import ConfigError, StorageError

MAX_KEY_BYTES = 900
TEMPORARY = ".tmp"
_REFUSED = re.compile(r"[\x00-\x1f\x7f\\]")
"""Control characters and the backslash."""

_NO_PARTS = frozenset(("", ".", ".."))


def check_key(key: str) -> str:
    """``key`` itself when it is relative, normal and portable; ``StorageError`` otherwise.

    Refused: empty, absolute, ``.`` or ``..`` or empty parts, backslashes, control characters, more than 900 bytes, and
    a last part like ``.name.tmp``, which is how half-written files are called.
    """
    parts = key.split("/")
    if not key or not _NO_PARTS.isdisjoint(parts):
        raise StorageError(f"{key!r} is no key", hint="a key is relative, without '.', '..' or empty parts")
    if _REFUSED.search(key):
        raise StorageError(f"{key!r} is no key", hint="backslashes and control characters are refused")
    if len(key.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES:
        raise StorageError(f"the key {key[:60]!r}... is longer than {MAX_KEY_BYTES} bytes", hint="use a shorter one")
    if is_temporary(parts[-1]):
        raise StorageError(f"{key!r} is no key", hint=f"names like '.name{TEMPORARY}' are kept for half-written files")
    return key


def is_temporary(name: str) -> bool:
    """Whether a file's name is that of a half-written file."""
    return name.startswith(".") and name.endswith(TEMPORARY)


def folder_prefix(prefix: str) -> str:
    """``prefix`` as a folder: empty for everything, else checked and ending in one slash."""
    bare = prefix.rstrip("/")
    return check_key(bare) + "/" if bare else ""


def scheme_of(uri: str) -> str:
    """``s3`` or ``file`` (a plain path counts as file); ``ConfigError`` for anything else."""
    scheme, separator, _ = uri.partition("://")
    if not separator:
        return "file"
    if scheme in ("s3", "file"):
        return scheme
    raise ConfigError(f"storage of the kind {scheme}:// is not known", hint="use file:// or s3://")


def split_s3(uri: str) -> tuple[str, str]:
    """(bucket, key or prefix without outer slashes at its start) of ``s3://bucket/key``; nothing is decoded."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not bucket:
        raise ConfigError("an s3:// URI names no bucket", hint="write s3://BUCKET/PREFIX")
    return bucket, key


def file_path(uri: str) -> Path:
    """The path of a file:// URI (percent-decoded where the bare name does not exist) or of a plain path.

    ``file://build/store`` is taken relative to the working directory, ``file:///data`` is absolute.
    """
    text = uri.removeprefix("file://")
    bare = Path(text).expanduser()
    if text == uri or "%" not in text or bare.exists():
        return bare
    return Path(unquote(text)).expanduser()


def file_uri(path: Path) -> str:
    """file:// URI of an absolute or relative path, percent-encoded."""
    return f"file://{quote(str(path))}"
