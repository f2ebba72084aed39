"""The manifest: a table of raw clips under the digest of its rows. Personal data, read by preprocessing only."""

from collections.abc import Sequence

from deemo_dist.config import StorageConfig
from deemo_dist.dataset.codec import from_parquet, to_parquet
from deemo_dist.dataset.door import Door
from deemo_dist.dataset.layout import manifest_key
from deemo_dist.digests import digest_of_rows
from deemo_dist.errors import CorruptDataError, DatasetError
from deemo_dist.records import Clip
from deemo_dist.records.clip import MANIFEST_SCHEMA


def manifest_digest(clips: Sequence[Clip]) -> str:
    """Digest of a manifest: over its canonical rows in their order."""
    return digest_of_rows(clips)


def write_manifest(clips: Sequence[Clip], store: Door) -> tuple[str, str]:
    """Write a manifest under its digest; returns (key, digest). Raises ``DatasetError`` for a clip named twice."""
    if not clips:
        raise DatasetError("a manifest needs at least one clip")
    if len({clip.uri for clip in clips}) != len(clips):
        raise DatasetError("the manifest names a clip twice", hint="each clip must end in one row of the ledger")
    digest = manifest_digest(clips)
    store.put(manifest_key(digest), to_parquet(clips, MANIFEST_SCHEMA))
    return manifest_key(digest), digest


def read_manifest(uri: str, config: StorageConfig) -> list[Clip]:
    """Read a manifest by its URI and check it against the digest in its name.

    Raises ``NotFoundError``, ``CorruptDataError``, or ``DatasetError`` for a newer format.
    """
    from deemo_dist.storage import read_uri

    clips = from_parquet(Clip, read_uri(uri, config, label=f"the manifest {uri}"), MANIFEST_SCHEMA, uri)
    named = uri.rsplit("/", 1)[-1].removesuffix(".parquet")
    if named != manifest_digest(clips):
        raise CorruptDataError(f"{uri}: its rows do not have the digest of its name", hint="ingest the clips again")
    return clips
