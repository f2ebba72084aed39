"""Which importer a source needs."""

from pathlib import Path

from deemo_dist.config import StorageConfig
from deemo_dist.dataset.ingest.folder import import_folder, import_jsonl
from deemo_dist.dataset.ingest.mertools import import_mertools, is_mertools
from deemo_dist.dataset.ingest.splits import refuse_split_subjects
from deemo_dist.errors import DatasetError
from deemo_dist.records import Clip


def import_clips(source: str, config: StorageConfig) -> list[Clip]:
    """Clips of a folder with a JSONL file or in MERTools' layout, or of a JSONL file at a path or URI.

    Raises ``DatasetError`` for a source that no importer knows, for bad rows, each named by file and line, and where a
    subject is in more than one split.
    """
    clips = _imported(source, config)
    refuse_split_subjects(clips)  # of one file, the importers name the lines; a set may have several
    return clips


def _imported(source: str, config: StorageConfig) -> list[Clip]:
    path = Path(source.removeprefix("file://"))
    if source.startswith("s3://") and source.endswith(".jsonl"):
        return import_jsonl(source, config)
    if path.is_dir():
        return import_mertools(path, config) if is_mertools(path) else import_folder(path, config)
    if path.suffix == ".jsonl" and path.is_file():
        return import_jsonl(str(path), config)
    raise DatasetError(
        f"{source}: no importer knows this",
        hint="a .jsonl file (path or URI), a folder with manifest.jsonl in it, or a folder in MERTools' layout",
    )
