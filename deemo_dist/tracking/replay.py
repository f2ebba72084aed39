"""Send later what a run left in its spool: after a server's outage, from the command line."""

from pathlib import Path

from deemo_dist.config import TrackingConfig
from deemo_dist.errors import TrackingError
from deemo_dist.tracking.connection import check, connection
from deemo_dist.tracking.delivery import Delivery
from deemo_dist.tracking.drain import Drain
from deemo_dist.tracking.runs import Reserve
from deemo_dist.tracking.spool import STREAMS, pending, readers, reserve_in


def replay(
    spool_dir: Path, config: TrackingConfig, *, folder: Path | None = None, reserve: Reserve | None = None
) -> int:
    """Send all records that wait below ``spool_dir``, with their original times, and try again what was refused;
    return how many were sent.

    ``folder`` of an embedded MLflow is the one noted in the spool when None. Sending twice doubles nothing. Raises
    ``TrackingError`` when the folder is no spool, the server cannot be used, another process is sending, or some wait.
    """
    spool = Path(spool_dir).absolute()
    found = [reader for stream in STREAMS for reader in readers(spool, stream)]
    if not found:
        raise TrackingError(f"there is no tracking spool in '{spool}'", hint="it is the folder 'spool' of a run")
    headers = [header for reader in found if (header := reader.header())]
    place = folder or (Path(str(headers[0]["folder"])) if headers else spool)
    check(config, place)
    drain = Drain(spool, Delivery(connection(config, place), reserve or _local(spool), spool))
    again = drain.again()
    outcome = drain.round()
    if outcome.locked:
        raise TrackingError(f"another process is sending '{spool}'", hint="it will send everything")
    if outcome.error:
        raise TrackingError(f"{pending(spool)} records still wait: {outcome.error}", hint="run it again later")
    return again + outcome.sent


def _local(spool: Path) -> Reserve:
    return lambda name, proposal: reserve_in(spool, name, proposal)
