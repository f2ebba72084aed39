"""Send later what a run left in its spool: after a server's outage, from the command line."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from deemo_dist.config import TrackingConfig
from deemo_dist.errors import DeemoError, TrackingError
from deemo_dist.tracking.carrier import Carrier, Depot
from deemo_dist.tracking.connection import check, connection
from deemo_dist.tracking.delivery import Delivery, Fetch
from deemo_dist.tracking.drain import Drain
from deemo_dist.tracking.reservations import reserve_in
from deemo_dist.tracking.runs import Reserve
from deemo_dist.tracking.segment import STREAMS
from deemo_dist.tracking.spool import pending, readers, was_sent


def replay(
    spool_dir: Path,
    config: TrackingConfig,
    *,
    folder: Path | None = None,
    reserve: Reserve | None = None,
    depot: Depot | None = None,
    fetch: Fetch | None = None,
) -> int:
    """Send all records that wait below ``spool_dir`` or in ``depot``, with their original times, and try again what was
    refused; return how many were sent.

    ``folder`` of an embedded MLflow is the one noted in the spool when None. Sending twice doubles nothing. Raises
    ``TrackingError`` when the folder is no spool, the server cannot be used, another process is sending, some wait, or
    the depot cannot be used: what waits here is sent then all the same.
    """
    spool = Path(spool_dir).absolute()
    carrier = Carrier(spool, depot) if depot is not None else None
    trouble = _trouble(carrier.take_all) if carrier is not None else None
    headers = _headers(spool)
    if not headers and carrier is None and not was_sent(spool):
        raise TrackingError(f"there is no tracking spool in '{spool}'", hint="it is the folder 'spool' of a run")
    place = folder or (Path(str(headers[0].get("folder", spool))) if headers else spool)
    check(config, place)
    sent = _sent(Drain(spool, Delivery(connection(config, place), reserve or _local(spool), spool, fetch)))
    if carrier is not None and trouble is None:
        trouble = _trouble(carrier.settle)
    if trouble is not None:
        raise TrackingError(
            f"{sent} records were sent from here; what other nodes left cannot be looked through: {trouble.message}",
            hint="run it again when the run's storage can be used; nothing is sent twice",
        ) from trouble
    return sent


def _sent(drain: Drain) -> int:
    again = drain.again()
    outcome = drain.round()
    if outcome.locked:
        raise TrackingError(f"another process is sending '{drain.spool}'", hint="it will send everything")
    if outcome.error:
        raise TrackingError(f"{pending(drain.spool)} records still wait: {outcome.error}", hint="run it again later")
    return again + outcome.sent


def _trouble(work: Callable[[], int]) -> DeemoError | None:
    """Do what is to be done on the run's storage; what is wrong with that place."""
    try:
        work()
    except DeemoError as error:
        return error
    return None


def _headers(spool: Path) -> list[dict[str, Any]]:
    """The headers of the segments that are here."""
    found = []
    for reader in (reader for stream in STREAMS for reader in readers(spool, stream)):
        with suppress(FileNotFoundError):  # another process has sent and removed it meanwhile
            found.append(reader.header())
    return [header for header in found if header]


def _local(spool: Path) -> Reserve:
    return lambda name, proposal: reserve_in(spool, name, proposal)
