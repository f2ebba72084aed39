"""What the verbs share: the options that say which run, and loading it."""

from typing import Annotated

import typer

from deemo_dist.config import RunConfig

RunOption = Annotated[
    str, typer.Option("--config", "-c", metavar="RUN", help="A YAML file, or a name in configs/runs.")
]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Override keys of the run.")]


def load_run(run: str, overrides: list[str] | None) -> RunConfig:
    """The run's configuration, checked; buckets that its models are in are asked as it says of its own. Raises
    ``ConfigError``."""
    from deemo_dist.config import load
    from deemo_dist.storage.elsewhere import use

    config = load(run, overrides or [])
    use(config.storage)
    return config
