"""What MLflow has not got yet: `tracking replay`; and, for launchers, that a training has failed."""

from typing import Annotated

import typer

from pipelines.verbs.common import Overrides, RunOption, load_run

tracking_app = typer.Typer(no_args_is_help=True, help="The records of a run that wait for MLflow.")


@tracking_app.command("replay", epilog="Example: `deemo tracking replay -c demo`")
def replay(run: RunOption, overrides: Overrides = None) -> None:
    """Send the records that wait here and on the run's storage, with their own times, from any machine; try again those
    that MLflow refused here."""
    from pipelines.tracked import run_replay

    typer.echo(f"records sent: {run_replay(load_run(run, overrides))}")


@tracking_app.command("failed", hidden=True, epilog="Example: `deemo tracking failed -c demo`")
def failed(
    run: RunOption,
    overrides: Overrides = None,
    killed: Annotated[bool, typer.Option("--killed", help="It was cancelled.")] = False,
) -> None:
    """End what MLflow takes for running of a training that has ended badly. A launcher's own command."""
    from pipelines.tracked import tell_failed

    tell_failed(load_run(run, overrides), killed=killed)
