"""Importers: from what people have to a manifest of clips. One file an importer."""

from deemo_dist.dataset.ingest.detect import import_clips
from deemo_dist.dataset.ingest.folder import import_folder, import_jsonl
from deemo_dist.dataset.ingest.manifest import manifest_digest, read_manifest, write_manifest
from deemo_dist.dataset.ingest.mertools import import_mertools
from deemo_dist.dataset.ingest.splits import refuse_split_subjects

__all__ = [
    "import_clips",
    "import_folder",
    "import_jsonl",
    "import_mertools",
    "manifest_digest",
    "read_manifest",
    "refuse_split_subjects",
    "write_manifest",
]
