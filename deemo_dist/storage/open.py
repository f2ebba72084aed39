"""Opening the project's store, and reading any single URI (raw clips, manifests)."""

import dataclasses
import socket
from pathlib import Path

from deemo_dist.config import StorageConfig
from deemo_dist.errors import ConfigError, StorageError
from deemo_dist.storage.files import copy_whole, translated
from deemo_dist.storage.keys import file_path, scheme_of, split_s3
from deemo_dist.storage.local import LocalStore
from deemo_dist.storage.s3 import S3Store
from deemo_dist.storage.store import Store


def open_store(config: StorageConfig) -> Store:
    """The store at ``config.root``. Nothing is asked of a server yet; ``ConfigError`` for another scheme, or for none:
    what is empty would be the working folder, which a variable without a value is not meant to say."""
    if not config.root.removeprefix("file://").strip():
        raise ConfigError("storage.root is empty", hint="a prefix file:// or s3://; for the working folder, file://.")
    return S3Store(config) if scheme_of(config.root) == "s3" else LocalStore(config.root)


def read_uri(uri: str, config: StorageConfig, *, label: str = "the object") -> bytes:
    """All bytes of a file:// or s3:// URI or plain path. ``label`` names it in errors: a raw URI may hold a name."""
    if scheme_of(uri) == "s3":
        store, name = _bucket_of(uri, config)
        return store.get_named(name, label)
    with translated("read", label, "file storage"):
        return file_path(uri).read_bytes()


def fetch_uri(uri: str, config: StorageConfig, into: Path, *, label: str = "the object") -> Path:
    """Copy a file:// or s3:// URI or plain path to the file ``into``, whole or not at all; returns ``into``.

    Raises ``NotFoundError`` for an object that is missing beside others. Where its folder is not there or has nothing
    in it, as where this machine has not mounted a file system, or its bucket is not there: ``StorageError``.
    """
    if scheme_of(uri) == "s3":
        store, name = _bucket_of(uri, config)
        store.download_named(name, label, into)
        return into
    source = file_path(uri)
    with translated("copy", label, "file storage"):
        try:
            copy_whole(source, into)
        except (FileNotFoundError, NotADirectoryError):
            if not _holds_something(source.parent):
                raise _no_place(label) from None
            raise
    return into


def _holds_something(folder: Path) -> bool:
    """Whether a folder is there and is not empty. To list it also mounts what is mounted on demand."""
    try:
        return any(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return False


def _no_place(label: str) -> StorageError:
    """The folder is not named: it may be called after a person."""
    where = f"its folder is not there, or has nothing in it, on the machine {socket.gethostname()}"
    return StorageError(
        f"{label} cannot be looked for: {where}",
        hint="mount the file system of the raw clips there; a clip that is gone for good is left out of the manifest",
    )


def _bucket_of(uri: str, config: StorageConfig) -> tuple[S3Store, str]:
    """A store over the URI's whole bucket, and the object's name as it stands."""
    bucket, name = split_s3(uri)
    return S3Store(dataclasses.replace(config, root=f"s3://{bucket}")), name
