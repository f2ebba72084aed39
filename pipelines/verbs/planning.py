"""`deemo plan` and `deemo doctor`: what a run would need and take, and whether it would work."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.verbs.common import Overrides, RunOption, above_zero, load_run

app = typer.Typer()
plan_app = typer.Typer(no_args_is_help=True, help="What a run would need and take on machines that are not here.")


@plan_app.command("train", epilog="Example: `deemo plan train -c demo --gpus 8,64,512 --gpu h100 --net 8x400g`")
def plan_train(
    run: RunOption,
    overrides: Overrides = None,
    gpus: Annotated[str, typer.Option(help="Numbers of GPUs, by commas.")] = "8,64,512",
    gpu: Annotated[str, typer.Option(help="h100, h200, b200, a100, a100-40g or l40s.")] = "h100",
    net: Annotated[str, typer.Option(help="A node's network: 400g is one link of 400 Gbit/s, 8x400g eight.")] = "400g",
    per_node: Annotated[int | None, typer.Option(min=1, help="GPUs of a node; default: the GPU's usual node.")] = None,
    memory: Annotated[
        float | None,
        typer.Option(callback=above_zero, help="GiB of a node; default: `launch`'s, or its usual node's."),
    ] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Clips to assume, in place of the dataset's.")] = None,
    efficiency: Annotated[float | None, typer.Option(help="Share of the peak that a dense step reaches.")] = None,
    overlap: Annotated[float, typer.Option(help="Share of the arithmetic behind which traffic can hide.")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Plain data: bytes, seconds, operations.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw it: a .png, .svg, .pdf or .html file.")] = None,
) -> None:
    """Memory, speed and time of the run's training on GPUs: its own modules, ZeRO's layout, a roofline."""
    import json

    from pipelines import plan_report
    from pipelines.plan_train import asked_for
    from pipelines.plan_train import plan_train as made

    asked = asked_for(
        gpus,
        gpu,
        net,
        per_node=per_node,
        memory_gb=memory,
        samples=samples,
        efficiency=efficiency,
        overlap=overlap,
    )
    if plot is not None:
        plan_report.check_plot(plot)
    plan = made(load_run(run, overrides), asked)
    if as_json:
        typer.echo(json.dumps(plan_report.plain(plan), indent=2))
    else:
        plan_report.print_plan(plan)
    if plot is not None:
        plan_report.plot(plan, plot)


@app.command(epilog="Example: `deemo doctor --run demo`")
def doctor(
    run: Annotated[str, typer.Option("--run", "--config", "-c", metavar="RUN", help="A YAML file, or a name.")],
    overrides: Overrides = None,
    ranks: Annotated[int | None, typer.Option(min=1, help="Ranks of the training; default: the run's.")] = None,
    gpu: Annotated[str | None, typer.Option(help="Check the memory of this kind of GPU, not this machine's.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps whose packs are loaded and run without values.")] = 2,
    seconds: Annotated[
        float, typer.Option(min=1, callback=above_zero, help="To spend on loading them, and on running them.")
    ] = 20.0,
) -> None:
    """Would this run's training work? One line a check: ok, or what fails and what to do. Exit code 1 if any fails."""
    from pipelines.doctor import examine

    findings = examine(load_run(run, overrides), ranks=ranks, gpu=gpu, steps=steps, seconds=seconds)
    for finding in findings:
        typer.echo(finding.line())
    if any(finding.state == "fails" for finding in findings):
        raise typer.Exit(1)


@plan_app.command("data", epilog="Example: `deemo plan data -c demo --samples 1e9 --ranks 1024 --nodes 128`")
def plan_data(
    run: RunOption,
    overrides: Overrides = None,
    samples: Annotated[
        float | None, typer.Option(min=1, callback=above_zero, help="Samples, in place of the dataset's: 1e9.")
    ] = None,
    ranks: Annotated[int | None, typer.Option(min=1, help="Ranks in all; default: of `launch`.")] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Nodes; default: `launch.nodes`.")] = None,
    cpus: Annotated[int | None, typer.Option(min=1, help="Cores of a node; default: this machine's.")] = None,
    memory: Annotated[
        float | None,
        typer.Option(callback=above_zero, help="GiB of a node; default: `launch`'s, or this machine's."),
    ] = None,
    network: Annotated[float | None, typer.Option(callback=above_zero, help="Gbit/s of a node to its storage.")] = None,
    step_seconds: Annotated[
        float | None, typer.Option(callback=above_zero, help="What a step takes, such as `plan train` tells.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Plain data: bytes, seconds, counts.")] = False,
) -> None:
    """Requests, bytes, cache, memory and times of the run's data, and what would break first: the loader's own reads,
    simulated over windows of its own samples."""
    import json

    from pipelines import data_report
    from pipelines.plan_data import plan_data as made
    from pipelines.plan_data import this_cluster

    config = load_run(run, overrides)
    asked = {"ranks": ranks, "nodes": nodes, "cpus": cpus}
    cluster = this_cluster(config, **asked, memory_gb=memory, network_gbit=network, step_seconds=step_seconds)
    found = made(config, cluster, samples=round(samples) if samples else None)
    if as_json:
        typer.echo(json.dumps(data_report.plain(found), indent=2))
    else:
        data_report.print_forecast(found)
