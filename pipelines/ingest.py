"""``deemo samples`` and ``deemo ingest``: from clips to a manifest."""

from pathlib import Path

from deemo_dist.config import RunConfig
from deemo_dist.dataset import import_clips
from deemo_dist.deid import KeyRing
from deemo_dist.errors import DatasetError
from deemo_dist.records import Clip
from deemo_dist.storage import open_store
from pipelines.erasure.withdrawn import write_allowed


def make_samples(dest: Path, *, subjects: int, clips: int, seed: int, workers: int, real: bool) -> list[Clip]:
    """Make sample clips in ``dest`` with ``manifest.jsonl`` beside them."""
    from deemo_dist.samples import generate_clips, real_clips

    made = generate_clips(dest, subjects=subjects, clips_per_subject=clips, seed=seed, workers=workers)
    if real:
        made = [*made, *real_clips(dest / "real")]
    return made


def ingest_source(source: str, config: RunConfig) -> tuple[str, int]:
    """Import ``source`` and write its manifest into the store; returns the manifest's URI and the number of clips.

    Clips of people who withdrew, also while it was written, are left out: the root key is needed where anybody did.
    """
    clips = import_clips(source, config.storage)
    if not clips:
        raise DatasetError(f"{source} holds no clips")
    store = open_store(config.storage)
    key, kept = write_allowed(clips, store, lambda: KeyRing.open(config.keys, dataset=config.data.name))
    return store.uri(key), len(kept)
