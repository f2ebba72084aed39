"""Empty a spool into MLflow, in order, under the spool's lock. Used by the sender thread and by ``replay``."""

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deemo_dist.console import logger
from deemo_dist.tracking.delivery import Delivery, RefusedError, is_final, is_missing
from deemo_dist.tracking.secrets import redact, secret_values
from deemo_dist.tracking.spool import STREAMS, Entry, Reader, readers, sending

_ENTRIES = 2000
_TRIES = 6


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a round did: records ``sent`` and ``refused``; ``error`` of the first stream that must wait, else None."""

    sent: int = 0
    refused: int = 0
    error: str | None = None
    locked: bool = False


class Drain:
    """Rounds over the segments of one spool. Each stream stops at its first failure and is tried again next round."""

    def __init__(self, spool: Path, delivery: Delivery) -> None:
        self.spool, self.delivery = spool, delivery
        self._id = uuid.uuid4().hex
        self._tries: dict[tuple[Path, int], int] = {}

    def round(self) -> Outcome:
        """Send what can be sent. Never raises for the server's sake; ``OSError`` when the spool cannot be read."""
        with sending(self.spool) as mine:
            if not mine:
                return Outcome(locked=True)
            self._take_over()
            outcomes = [self._stream(stream) for stream in STREAMS]
        return Outcome(
            sent=sum(outcome.sent for outcome in outcomes),
            refused=sum(outcome.refused for outcome in outcomes),
            error=next((outcome.error for outcome in outcomes if outcome.error), None),
        )

    def _take_over(self) -> None:
        """What is remembered of the runs is stale when another process sent in between."""
        marker = self.spool / "sender.last"
        if not marker.is_file() or marker.read_text() != self._id:
            self.delivery.forget()
            marker.write_text(self._id)

    def _stream(self, stream: str) -> Outcome:
        sent = refused = 0
        for reader in readers(self.spool, stream):
            error = None
            while entries := reader.entries(_ENTRIES):
                done, bad, error = self._send(reader, entries)
                sent, refused = sent + done, refused + bad
                if error:
                    return Outcome(sent=sent, refused=refused, error=error)
        return Outcome(sent=sent, refused=refused)

    def _send(self, reader: Reader, entries: list[Entry]) -> tuple[int, int, str | None]:
        """Send entries of one segment: (sent, refused, error that makes the stream wait)."""
        header = reader.header()
        if header is None or header.get("v", 0) > 1:
            self._set_aside(reader, None, "its segment has no header, or one of a newer version")
            reader.commit(entries[-1].end)
            return 0, len(entries), None
        sent = refused = 0
        for group in _groups(entries):
            reason = self._try(reader, header, group)
            if isinstance(reason, _Wait):
                return sent, refused, reason.text
            if reason and len(group) > 1:
                single = [self._one(reader, header, entry) for entry in group]
                if waits := [item for item in single if isinstance(item, _Wait)]:
                    return sent, refused, waits[0].text
                refused += sum(1 for item in single if item)
            elif reason:
                self._set_aside(reader, group[0].event, str(reason))
                refused += 1
            reader.commit(group[-1].end)
            self._clean(group)
            sent += sum(1 for entry in group if (entry.event or {}).get("kind") != "open")
        return sent - refused, refused, None

    def _one(self, reader: Reader, header: Mapping[str, Any], entry: Entry) -> "str | _Wait | None":
        reason = self._try(reader, header, [entry])
        if isinstance(reason, str):
            self._set_aside(reader, entry.event, reason)
        return reason

    def _try(self, reader: Reader, header: Mapping[str, Any], group: list[Entry]) -> "str | _Wait | None":
        """None when the group was taken, a reason when it never will be, ``_Wait`` when the server must come back."""
        try:
            self._deliver_afresh(header, group)
        except Exception as error:  # noqa: BLE001 - nothing that MLflow raises may end a run
            place = (reader.path, group[-1].end)
            self._tries[place] = self._tries.get(place, 0) + 1
            hopeless = self._tries[place] >= _TRIES and self.delivery.alive()
            text = _shown(error)
            return text if is_final(error) or hopeless else _Wait(text)
        return None

    def _deliver_afresh(self, header: Mapping[str, Any], group: list[Entry]) -> None:
        """Deliver; when the server refuses, once more with its runs looked up anew (one may have been deleted)."""
        try:
            self._deliver(header, group)
        except RefusedError:
            raise
        except Exception as error:
            if not (is_final(error) or is_missing(error)):
                raise
            self.delivery.forget()
            self._deliver(header, group)

    def _deliver(self, header: Mapping[str, Any], group: list[Entry]) -> None:
        event = group[0].event
        if event is None:
            raise RefusedError("the line is no JSON object")
        if event.get("kind") == "metrics":
            self.delivery.deliver_metrics(header, [entry.event for entry in group if entry.event])
        elif event.get("kind") != "open":
            self.delivery.deliver(header, event)

    def _clean(self, group: list[Entry]) -> None:
        for entry in group:
            if entry.event:
                self.delivery.clean(entry.event)

    def _set_aside(self, reader: Reader, event: dict[str, Any] | None, reason: str) -> None:
        """Keep what the server refuses, with the reason: nothing disappears."""
        kind = (event or {}).get("kind", "line")
        logger.warning("tracking: MLflow refuses a record of kind '%s' (%s); kept in refused.jsonl", kind, reason)
        row = {"segment": reader.path.name, "time": int(time.time() * 1000), "reason": reason, "event": event}
        with (self.spool / "refused.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")


@dataclass(frozen=True)
class _Wait:
    text: str


def _groups(entries: list[Entry]) -> list[list[Entry]]:
    """Neighbouring metrics of one run together, everything else alone."""
    groups: list[list[Entry]] = []
    for entry in entries:
        if groups and _metric_run(entry) is not None and _metric_run(groups[-1][-1]) == _metric_run(entry):
            groups[-1].append(entry)
        else:
            groups.append([entry])
    return groups


def _metric_run(entry: Entry) -> str | None:
    event = entry.event or {}
    return str(event.get("run")) if event.get("kind") == "metrics" else None


def _shown(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return redact(f"{type(error).__name__}: {text[0][:160] if text else ''}", secret_values())
