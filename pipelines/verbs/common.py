"""What the verbs share: the options that say which run, and loading it."""

import math
from typing import Annotated

import typer

from deemo_dist.config import RunConfig

RunOption = Annotated[
    str, typer.Option("--config", "-c", metavar="RUN", help="A YAML file, or a name in configs/runs.")
]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Override keys of the run.")]


def above_zero(value: float | None) -> float | None:
    """The number of an option (None: not given). Raises ``BadParameter`` for one that is not finite or not above 0."""
    if value is not None and not (math.isfinite(value) and value > 0):
        raise typer.BadParameter(f"{value:g} is not a finite number above 0")
    return value


def load_run(run: str, overrides: list[str] | None) -> RunConfig:
    """The run's configuration, checked; buckets that its models are in are asked as it says of its own, and pinned
    weights are looked for where it says. Raises ``ConfigError``."""
    from deemo_dist import weights
    from deemo_dist.config import load
    from deemo_dist.storage import elsewhere

    config = load(run, overrides or [])
    elsewhere.use(config.storage)
    weights.use(config.weights)
    return config
