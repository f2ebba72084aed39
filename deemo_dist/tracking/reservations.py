"""Names whose first value wins: the key of a chain, the ids of its MLflow runs."""

import os
import uuid
from pathlib import Path

from deemo_dist.console import logger
from deemo_dist.tracking.runs import Reserve


class Reservations:
    """The caller's put-if-absent, and what it answered. Where it fails a local file takes its place."""

    def __init__(self, spool: Path, reserve: Reserve | None) -> None:
        self.spool, self._reserve = spool, reserve
        self.known: dict[str, str] = {}

    def __call__(self, name: str, proposal: str) -> str:
        """The value of ``name``: ``proposal``, unless another one was there first. Never raises."""
        value = self._ask(name, proposal)
        self.known[name] = value
        return value

    def _ask(self, name: str, proposal: str) -> str:
        local = proposal
        try:
            local = reserve_in(self.spool, name, proposal)
            return self._reserve(name, local) if self._reserve else local
        except Exception as error:  # noqa: BLE001 - the caller's storage; tracking never raises
            logger.warning("tracking: '%s' could not be reserved (%s)", name, type(error).__name__)
            return local


def reserve_in(directory: Path, name: str, proposal: str) -> str:
    """Put-if-absent in a local folder: the first proposal for ``name`` wins and is returned to everyone."""
    path = directory / "reserved" / name.replace("/", "_")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    temporary.write_text(proposal)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return path.read_text()
    finally:
        temporary.unlink()
    return proposal
