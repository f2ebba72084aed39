"""From a dataset to a judged model: `train`, `evaluate`, `run`, `submit`, `demo`."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.verbs.common import Overrides, RunOption, load_run

app = typer.Typer()


@app.command(epilog="Example: `deemo train -c demo engine.ranks=1`")
def train(
    run: RunOption,
    overrides: Overrides = None,
    stage: Annotated[str | None, typer.Option(help="This stage alone; those before it must be done.")] = None,
    first: Annotated[str | None, typer.Option("--from", help="From this stage on; those before must be done.")] = None,
    until: Annotated[str | None, typer.Option(help="Up to this stage, itself included.")] = None,
    worker: Annotated[bool, typer.Option("--worker", help="This process is one rank (a launcher sets this).")] = False,
) -> None:
    """Train the stages in order. Done stages are skipped; an interrupted one goes on from its last checkpoint."""
    from pipelines.stages import Selection
    from pipelines.train import run_train, run_worker

    selection, config = Selection.of(stage, first, until), load_run(run, overrides)
    if worker:
        run_worker(config, selection)
    else:
        run_train(run, overrides or [], selection)


@app.command(epilog="Example: `deemo export -c smollm2 --adapters`")
def export(
    run: RunOption,
    overrides: Overrides = None,
    adapters: Annotated[
        bool, typer.Option("--adapters", help="Adapters and projectors over a base by reference, not merged.")
    ] = False,
    until: Annotated[str | None, typer.Option(help="As it was after this stage.")] = None,
) -> None:
    """Write the trained model as a transformers folder, adapters merged into its weights, and print where."""
    from pipelines.train import run_export

    typer.echo(f"model: {run_export(load_run(run, overrides), until, adapters=adapters)}")


@app.command(epilog="Example: `deemo evaluate -c demo evaluation.split=validation`")
def evaluate(run: RunOption, overrides: Overrides = None) -> None:
    """Score the trained model on held-out subjects and write the report."""
    from pipelines.evaluate import run_evaluate

    result = run_evaluate(load_run(run, overrides))
    typer.echo(f"accuracy {result.accuracy:.3f}; report: {result.report}")


@app.command("run", epilog="Example: `deemo run -c demo data.manifest=file:///data/manifests/1f0c.parquet`")
def run_all(run: RunOption, overrides: Overrides = None) -> None:
    """The whole chain: preprocess, train, evaluate."""
    from pipelines.run import run_chain

    load_run(run, overrides)
    result = run_chain(run, overrides or [])
    typer.echo(f"accuracy {result.accuracy:.3f}; report: {result.report}")


@app.command(epilog="Example: `deemo submit slurm train -c demo --nodes 2 --dry-run`")
def submit(
    system: Annotated[str, typer.Argument(help="ray, slurm or local.")],
    verb: Annotated[str, typer.Argument(help="preprocess or train.")],
    run: RunOption,
    overrides: Overrides = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Nodes, in place of `launch.nodes`.")] = None,
    address: Annotated[str | None, typer.Option(help="Ray's job server, such as http://127.0.0.1:8265.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be sent, send nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the job's end; fail if it fails.")] = False,
) -> None:
    """Send preprocessing or training to a cluster: a Ray job or a SLURM batch."""
    from pipelines.submit import run_submit

    run_submit(system, verb, run, overrides or [], nodes=nodes, address=address, dry_run=dry_run, wait=wait)


@app.command(epilog="Example: `deemo demo --storage s3`")
def demo(
    storage: Annotated[
        str, typer.Option(help="file, or s3: a real S3 server on this machine, ended at the end.")
    ] = "file",
    run: RunOption = "demo",
    build: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("build/demo"),
    overrides: Overrides = None,
) -> None:
    """Everything on this machine: generated clips, de-identification, training on two ranks, a report."""
    from pipelines.demo import run_demo

    run_demo(run, overrides or [], storage=storage, build=build)
