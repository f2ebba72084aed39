"""Empty a spool into MLflow, in order, under its streams' locks. Used by the sender's threads and by ``replay``."""

import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deemo_dist.tracking.delivery import Delivery, RefusedError, is_final, is_missing, is_rejected
from deemo_dist.tracking.refused import set_aside, try_again
from deemo_dist.tracking.secrets import redact, secret_values
from deemo_dist.tracking.segment import STREAMS
from deemo_dist.tracking.spool import Entry, Reader, is_legible, readers, sending, shrink

_ENTRIES = 2000
_TRIES = 6
_IN_ORDER = frozenset({"run", "status", "tags"})
"""Kinds of which the last one counts: none of them lets a later one go first."""
_LATE = {"run": "tags", "status": "lost"}
"""What is left to say, by kind, when others have been sent since."""


@dataclass(kw_only=True)
class Outcome:
    """What a round did: records ``sent`` and ``refused``; ``error`` of the first record that must wait, else None."""

    sent: int = 0
    refused: int = 0
    error: str | None = None
    locked: bool = False


class Drain:
    """Rounds over the segments of one spool. Each stream stops at its first failure and is tried again next round; a
    record that was tried often by an MLflow that answers lets the next ones go first."""

    def __init__(self, spool: Path, delivery: Delivery, streams: Sequence[str] = STREAMS) -> None:
        self.spool, self.delivery, self.streams = spool, delivery, tuple(streams)
        self._id = uuid.uuid4().hex
        self._tries: dict[tuple[Path, int], int] = {}

    def round(self) -> Outcome:
        """Send what can be sent. Never raises for the server's sake; ``OSError`` when the spool cannot be read."""
        outcome = Outcome()
        for stream in self.streams:
            with sending(self.spool, stream) as mine:
                if not mine:
                    outcome.locked = True
                    continue
                self._take_over(stream)
                self._stream(stream, outcome)
                shrink(self.spool, stream)
        return outcome

    def again(self) -> int:
        """Try once more what was refused; how many records were taken this time. Nothing while another one sends."""
        with ExitStack() as locks:
            mine = [locks.enter_context(sending(self.spool, stream)) for stream in self.streams]
            if not all(mine):
                return 0
            self.delivery.forget()
            return try_again(self.spool, self._deliver_again)

    def _deliver_again(self, header: Mapping[str, Any], event: dict[str, Any]) -> str | None:
        kind = str(event.get("kind"))
        try:
            self._deliver_afresh(header, [Entry({**event, "kind": _LATE.get(kind, kind)}, 0, 0)])
        except Exception as error:  # noqa: BLE001 - nothing that MLflow raises may end a run
            return _shown(error)
        self.delivery.clean(event)
        return None

    def _take_over(self, stream: str) -> None:
        """What is remembered of the runs is stale when another process sent in between."""
        marker = self.spool / f"sender.{stream}.last"
        if not marker.is_file() or marker.read_text() != self._id:
            self.delivery.forget()
            marker.write_text(self._id)

    def _stream(self, stream: str, outcome: Outcome) -> None:
        for reader in readers(self.spool, stream):
            while entries := reader.entries(_ENTRIES):
                waits, alone = self._send(reader, entries, outcome)
                outcome.error = outcome.error or waits
                if waits and not alone:
                    return
                if waits:
                    break

    def _send(self, reader: Reader, entries: list[Entry], outcome: Outcome) -> tuple[str | None, bool]:
        """Send entries of one segment: the error of the first one that waits, and whether others may go first."""
        header = reader.header()
        if header is None or not is_legible(header):
            set_aside(self.spool, reader.path, None, None, "its segment has no header, or one of a newer version")
            reader.commit(entries[-1].end)
            outcome.refused += len(entries)
            return None, True
        error: str | None = None
        passed: set[int] = set()
        groups = deque(_groups(entries, reader.held))
        while groups:
            group = groups.popleft()
            reason = self._try(reader, header, group)
            if isinstance(reason, _Wait):
                error = error or reason.text
                if not self._lets_pass(reader, group):
                    return error, False
                passed |= {entry.start for entry in self._singled(reader, group)}
                continue
            if reason and len(group) > 1:
                groups.extendleft([entry] for entry in reversed(self._singled(reader, group)))
                continue
            if reason:
                set_aside(self.spool, reader.path, header, group[0].event, reason, reader.text(group[0]))
                outcome.refused += 1
            taken = {entry.start for entry in group}
            reader.commit(max(reader.offset, group[-1].end), (reader.held | passed) - taken)
            if not reason:
                self._clean(group)
                outcome.sent += sum(1 for entry in group if (entry.event or {}).get("kind") != "open")
        return error, True

    def _singled(self, reader: Reader, group: list[Entry]) -> list[Entry]:
        """A group's records, that go on one by one, each as often tried as the group."""
        tries = self._tries.get((reader.path, group[0].start), 0)
        self._tries.update({(reader.path, entry.start): tries for entry in group})
        return group

    def _lets_pass(self, reader: Reader, group: list[Entry]) -> bool:
        """Whether the next ones are tried before this group, which MLflow does not take although it answers."""
        ordered = any((entry.event or {}).get("kind") in _IN_ORDER for entry in group)
        return not ordered and self._tries[reader.path, group[0].start] >= _TRIES and self.delivery.alive()

    def _try(self, reader: Reader, header: Mapping[str, Any], group: list[Entry]) -> "str | _Wait | None":
        """None when the group was taken, a reason when it never will be, ``_Wait`` when the server must come back."""
        try:
            self._deliver_afresh(header, group)
        except Exception as error:  # noqa: BLE001 - nothing that MLflow raises may end a run
            place = (reader.path, group[0].start)
            self._tries[place] = self._tries.get(place, 0) + 1
            hopeless = is_rejected(error) and self._tries[place] >= _TRIES and self.delivery.alive()
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


@dataclass(frozen=True)
class _Wait:
    text: str


def _groups(entries: list[Entry], held: frozenset[int]) -> list[list[Entry]]:
    """Neighbouring metrics of one run together, everything else alone, as is what was held."""
    groups: list[list[Entry]] = []
    for entry in entries:
        alike = bool(groups) and _metric_run(entry) is not None and _metric_run(groups[-1][-1]) == _metric_run(entry)
        if alike and groups[-1][-1].start not in held:
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
