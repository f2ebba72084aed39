"""What MLflow refused: kept in ``refused.jsonl`` with the reason, its files left where they are, for another try."""

import json
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deemo_dist.console import logger
from deemo_dist.tracking.segment import STREAMS
from deemo_dist.tracking.spool import readers

FILE = "refused.jsonl"
Row = dict[str, Any]


def set_aside(
    spool: Path, segment: Path, header: Mapping[str, Any] | None, event: Row | None, reason: str, line: str = ""
) -> None:
    """Keep an event that is refused, or a ``line`` that is none (``event`` None): nothing disappears."""
    kind = (event or {}).get("kind", "line")
    logger.warning("tracking: MLflow refuses a record of kind '%s' (%s); kept in %s", kind, reason, FILE)
    now = int(time.time() * 1000)
    row = {"segment": segment.name, "time": now, "reason": reason, "header": header, "event": event}
    row |= {"line": line} if event is None and line else {}
    with (spool / FILE).open("a") as file:
        file.write(json.dumps(row) + "\n")


def try_again(spool: Path, deliver: Callable[[Mapping[str, Any], Row], str | None]) -> int:
    """Hand every refused event to ``deliver(header, event)``, which says why it is not taken (None: it was). How many
    were taken; the others stay, with the new reason."""
    rows = _rows(spool)
    kept = []
    for row in rows:
        header = row.get("header") or _header(spool, str(row.get("segment")))
        reason = deliver(header, row["event"]) if header and row.get("event") else row.get("reason")
        if reason is not None:
            kept.append({**row, "reason": reason})
    if len(kept) < len(rows):
        temporary = spool / f".{FILE}.{uuid.uuid4().hex[:8]}"
        temporary.write_text("".join(json.dumps(row) + "\n" for row in kept))
        temporary.replace(spool / FILE)
    return len(rows) - len(kept)


def _rows(spool: Path) -> list[Row]:
    try:
        lines = (spool / FILE).read_text().splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]


def _header(spool: Path, segment: str) -> Mapping[str, Any] | None:
    found = [reader for stream in STREAMS for reader in readers(spool, stream) if reader.path.name == segment]
    return found[0].header() if found else None
