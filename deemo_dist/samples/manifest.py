"""``manifest.jsonl``: one clip a line, with the fields of ``Clip``; any importer of a folder with JSONL reads it."""

import json
from collections.abc import Sequence
from pathlib import Path

from deemo_dist.digests import plain
from deemo_dist.records import Clip, NfblEvent

MANIFEST = "manifest.jsonl"


def write_jsonl(clips: Sequence[Clip], path: Path) -> None:
    """Write ``clips``, one JSON object a line, through a temporary file (never half a manifest)."""
    lines = [json.dumps(plain(clip), ensure_ascii=False, sort_keys=True) for clip in clips]
    part = path.with_suffix(".part")
    part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    part.replace(path)


def read_jsonl(path: Path) -> list[Clip]:
    """Read what ``write_jsonl`` wrote. Raises ``OSError``, ``ValueError``, ``KeyError`` or ``TypeError`` otherwise."""
    clips = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        clips.append(Clip(**{**row, "nfbl": tuple(NfblEvent(**event) for event in row["nfbl"])}))
    return clips
