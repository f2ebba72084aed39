"""`deemo dataset`: what is in a dataset, and whether it is whole."""

from typing import Annotated

import typer

from pipelines.verbs.common import Overrides, RunOption, load_run

dataset_app = typer.Typer(no_args_is_help=True, help="A dataset: what is in it, and whether it is whole.")


@dataset_app.command("show", epilog="Example: `deemo dataset show -c demo`")
def dataset_show(run: RunOption, overrides: Overrides = None) -> None:
    """What a dataset holds: samples, rejects by reason, splits, policy, digests."""
    from pipelines.datasets import describe

    typer.echo(describe(load_run(run, overrides)))


@dataset_app.command("verify", epilog="Example: `deemo dataset verify -c demo --deep`")
def dataset_verify(
    run: RunOption,
    overrides: Overrides = None,
    deep: Annotated[bool, typer.Option("--deep", help="Read every shard and check every member's digest.")] = False,
) -> None:
    """Prove that every clip ended in exactly one row of the ledger, and that shards, index and receipts agree."""
    from pipelines.datasets import check

    typer.echo(check(load_run(run, overrides), deep=deep))


@dataset_app.command("audit", epilog="Example: `deemo dataset audit -c demo`")
def dataset_audit(run: RunOption, overrides: Overrides = None) -> None:
    """Prove how often each example was fed to the run's training, over restarts and changed numbers of ranks."""
    from pipelines.consumption import audit_run, proved

    typer.echo(proved(audit_run(load_run(run, overrides))))
