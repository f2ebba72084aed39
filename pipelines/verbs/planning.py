"""`deemo plan`: what a run would need and take, before there is a cluster."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.verbs.common import Overrides, RunOption, load_run

plan_app = typer.Typer(no_args_is_help=True, help="What a run would need and take on machines that are not here.")


@plan_app.command("train", epilog="Example: `deemo plan train -c demo --gpus 8,64,512 --gpu h100 --net 8x400g`")
def plan_train(
    run: RunOption,
    overrides: Overrides = None,
    gpus: Annotated[str, typer.Option(help="Numbers of GPUs, by commas.")] = "8,64,512",
    gpu: Annotated[str, typer.Option(help="h100, h200, b200, a100, a100-40g or l40s.")] = "h100",
    net: Annotated[str, typer.Option(help="A node's network: 400g is one link of 400 Gbit/s, 8x400g eight.")] = "400g",
    per_node: Annotated[int | None, typer.Option(min=1, help="GPUs of a node; default: the GPU's usual node.")] = None,
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

    asked = asked_for(gpus, gpu, net, per_node=per_node, samples=samples, efficiency=efficiency, overlap=overlap)
    plan = made(load_run(run, overrides), asked)
    if as_json:
        typer.echo(json.dumps(plan_report.plain(plan), indent=2))
    else:
        plan_report.print_plan(plan)
    if plot is not None:
        plan_report.plot(plan, plot)
