"""A plan of training as tables, as plain data, and as a picture."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from deemo_dist.errors import ConfigError
from deemo_dist.planning.train.capacity import Capacity
from deemo_dist.planning.train.hardware import GIB
from pipelines.outputs import check_output
from pipelines.plan_train import StagePlan, TrainPlan

KINDS = (
    "parameters",
    "gradients",
    "optimizer",
    "gathered",
    "buckets",
    "activations",
    "logits",
    "buffers",
    "update",
    "reserve",
)
COLOURS = ("#2f6fdb", "#7ba3ea", "#12386f", "#e08a1e", "#f3c27f", "#c8433c", "#e79b96", "#b4bfcb", "#8a97a5", "#e3e8ee")
Cell = Callable[[Capacity], str]


def print_plan(plan: TrainPlan) -> None:
    """Tables on standard output: with lines on a terminal, plain columns elsewhere."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    style = box.SIMPLE_HEAD if console.is_terminal else None
    asked = plan.asked
    console.print(
        f"{plan.run}: {plan.model} on {asked.gpu.name} ({asked.gpu.memory / GIB:.0f} GiB, "
        f"{asked.gpu.peak / 1e12:.0f} TFLOP/s bf16), {asked.per_node} a node, {asked.network.name} a node; "
        f"a dense step reaches {asked.efficiency or asked.gpu.efficiency:.1%} of the peak where nothing waits",
        soft_wrap=True,
    )
    for stage in plan.stages:
        console.print(f"\nstage {stage.name}: {_packs(stage)}", soft_wrap=True)
        console.print(_parts(stage, style))
        console.print(_table("GiB a GPU", stage.rows, _memory_cells(), style))
        console.print(_ways(stage, style))
        console.print(_table("speed", stage.rows, _speed_cells(), style))
        for row in stage.rows:
            for line in row.advice:
                console.print(f"{row.ranks} GPUs: {line}", soft_wrap=True)
    console.print("")
    for number, ranks in enumerate(asked.gpus):
        days, hours = plan.total(number)
        console.print(f"all stages on {ranks} GPUs: {_span(days)}, {hours:,.1f} GPU-hours", soft_wrap=True)


def _packs(stage: StagePlan) -> str:
    work = stage.workload
    pack = work.mean
    kept = "gradient checkpointing" if stage.checkpointing else "no gradient checkpointing"
    return (
        f"{work.packs:,} packs of {pack.tokens:,.0f} tokens, {pack.clips:.1f} clips and {pack.windows:.1f} windows of "
        f"sound on average; {work.source}; {stage.precision}, {kept}"
    )


def _parts(stage: StagePlan, style: box.Box | None) -> Table:
    table = Table("part", "parameters", "trained", box=style, pad_edge=False)
    for name, (count, trained) in stage.parts.items():
        table.add_row(name, f"{count:,}", f"{trained:,}")
    return table


def _memory_cells() -> dict[str, Cell]:
    def kind(name: str) -> Cell:
        return lambda row: f"{getattr(row.memory, name) / GIB:.2f}"

    return {
        **{name: kind(name) for name in KINDS},
        "peak": lambda row: f"{row.memory.total / GIB:.1f}",
        "of": lambda row: f"{row.available / GIB:.0f}",
        "fits": lambda row: "yes" if row.fits else "NO",
        "host": lambda row: f"{row.memory.host / GIB:.1f}",
        "snapshot": lambda row: f"{row.memory.snapshot / GIB:.1f}",
        "restored": lambda row: f"{row.memory.restored / GIB:.1f}",
        "of the node": lambda row: f"{row.host / GIB:.0f}",
        "export": lambda row: f"{row.export / GIB:.1f}",
        "disk": lambda row: f"{row.memory.disk / GIB:.1f}",
    }


def _speed_cells() -> dict[str, Cell]:
    return {
        "packs a step": lambda row: f"{row.packs_per_step} ({row.time.micro} a GPU)",
        "PFLOP a step": lambda row: f"{row.flops / 1e15:.3g}",
        "s a step": lambda row: f"{row.time.seconds:.3g}",
        "bound by": lambda row: row.time.bound,
        "network exposed": lambda row: f"{row.time.exposed * row.time.micro / row.time.seconds:.0%}",
        "tokens/s": lambda row: f"{row.tokens_per_second:,.0f}",
        "tokens/s/GPU": lambda row: f"{row.tokens_per_second / row.ranks:,.0f}",
        "MFU": lambda row: f"{row.time.mfu:.1%}",
        "hiding tokens": lambda row: f"{row.hiding_tokens:,.0f}",
        "steps": lambda row: f"{row.steps:,}",
        "takes": lambda row: _span(row.days),
        "GPU-hours": lambda row: f"{row.gpu_hours:,.1f}",
    }


def _table(title: str, rows: Sequence[Capacity], cells: dict[str, Cell], style: box.Box | None) -> Table:
    """A line for each quantity, a column for each number of GPUs."""
    table = Table(title, *(f"{row.ranks} GPUs" for row in rows), box=style, pad_edge=False)
    for name, cell in cells.items():
        table.add_row(name, *(cell(row) for row in rows))
    return table


def _ways(stage: StagePlan, style: box.Box | None) -> Table:
    table = Table(
        "GiB a GPU by way of cutting", *(f"{row.ranks} GPUs" for row in stage.rows), box=style, pad_edge=False
    )
    for name, totals in stage.ways.items():
        cells = (
            f"{total / GIB:.1f}{'' if total <= row.available else ' !'}"
            for total, row in zip(totals, stage.rows, strict=True)
        )
        table.add_row(name, *cells)
    return table


def _span(days: float) -> str:
    """A time a person can read."""
    if days >= 1:
        return f"{days:,.1f} days"
    if days * 24 >= 1:
        return f"{days * 24:.1f} hours"
    return f"{days * 1440:.1f} minutes" if days * 1440 >= 1 else f"{days * 86_400:.1f} s"


def plain(plan: TrainPlan) -> dict[str, Any]:
    """The plan as JSON-able data: bytes, seconds, operations."""
    return {
        "run": plan.run,
        "model": plan.model,
        "gpu": asdict(plan.asked.gpu),
        "network": {"name": plan.asked.network.name, "bytes_per_second": plan.asked.network.node},
        "stages": [_plain_stage(stage) for stage in plan.stages],
        "total": [
            {"gpus": ranks, "days": plan.total(number)[0], "gpu_hours": plan.total(number)[1]}
            for number, ranks in enumerate(plan.asked.gpus)
        ],
    }


def _plain_stage(stage: StagePlan) -> dict[str, Any]:
    return {
        "name": stage.name,
        "parameters": {name: {"all": count, "trained": trained} for name, (count, trained) in stage.parts.items()},
        "packs": stage.workload.packs,
        "mean_pack": vars(stage.workload.mean),
        "source": stage.workload.source,
        "bytes_by_way": stage.ways,
        "rows": [_plain_row(row) for row in stage.rows],
    }


def _plain_row(row: Capacity) -> dict[str, Any]:
    return {
        "gpus": row.ranks,
        "nodes": row.nodes,
        "fits": row.fits,
        "bytes": {
            **row.memory.kinds(),
            "peak": row.memory.total,
            "host": row.memory.host,
            "snapshot": row.memory.snapshot,
            "restored": row.memory.restored,
            "disk": row.memory.disk,
            "available": row.available,
            "host_available": row.host,
            "export": row.export,
            "node_available": row.node,
        },
        "packs_per_step": row.packs_per_step,
        "steps": row.steps,
        "step": asdict(row.time),
        "flops_per_step": row.flops,
        "tokens_per_second": row.tokens_per_second,
        "samples_per_second": row.samples_per_second,
        "hiding_tokens": row.hiding_tokens,
        "days": row.days,
        "gpu_hours": row.gpu_hours,
        "advice": list(row.advice),
    }


def check_plot(path: Path) -> None:
    """Raise ``ConfigError`` for an ending that is no picture's, or a file that cannot be written."""
    if path.suffix not in (".png", ".svg", ".pdf", ".html"):
        raise ConfigError(f"--plot {path}: '{path.suffix}' is no picture", hint=".png, .svg, .pdf or .html")
    check_output(path, "--plot")


def plot(plan: TrainPlan, path: Path) -> None:
    """Memory by kind and speed against the number of GPUs, a row of two pictures a stage: .png, .svg, .pdf or .html.

    Raises ``ConfigError`` as :func:`check_plot` does.
    """
    import io

    import matplotlib as mpl
    from matplotlib.figure import Figure

    check_plot(path)
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(11, 3.6 * len(plan.stages)), layout="constrained", dpi=130)
        axes = figure.subplots(len(plan.stages), 2, squeeze=False)
        for stage, (left, right) in zip(plan.stages, axes, strict=True):
            _memory_bars(left, stage)
            _speed_lines(right, stage)
        figure.suptitle(f"{plan.run}: {plan.model} on {plan.asked.gpu.name}, {plan.asked.network.name} a node")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".html":
            drawn = io.StringIO()
            figure.savefig(drawn, format="svg")
            svg = drawn.getvalue()
            path.write_text(f"<!doctype html><meta charset=utf-8>{svg[svg.index('<svg') :]}")
        else:
            figure.savefig(path)


def _memory_bars(axes: Any, stage: StagePlan) -> None:
    """Bytes by kind, stacked, under the device's memory."""
    names = [f"{row.ranks}" for row in stage.rows]
    below = [0.0] * len(names)
    for kind, colour in zip(KINDS, COLOURS, strict=True):
        if kind == "update":
            continue
        heights = [getattr(row.memory, kind) / GIB for row in stage.rows]
        axes.bar(names, heights, bottom=below, color=colour, label=kind, width=0.6)
        below = [low + height for low, height in zip(below, heights, strict=True)]
    limit = stage.rows[0].available / GIB
    axes.axhline(limit, color="#c8433c", linewidth=1, linestyle="--")
    axes.text(-0.45, limit, f"{limit:.0f} GiB", color="#c8433c", va="bottom", fontsize=8)
    axes.set_title(f"{stage.name}: memory of a GPU", loc="left")
    axes.set(xlabel="GPUs", ylabel="GiB")
    axes.set_ylim(0, 1.12 * max(limit, *below))
    axes.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _speed_lines(axes: Any, stage: StagePlan) -> None:
    """MFU, and GPU-hours of the stage."""
    places = range(len(stage.rows))
    axes.plot(places, [100 * row.time.mfu for row in stage.rows], marker="o", color="#2f6fdb")
    for place, row in zip(places, stage.rows, strict=True):
        note = f"{row.time.mfu:.1%}\n{row.tokens_per_second:,.0f} tokens/s\n{_span(row.days)}"
        axes.annotate(
            note, (place, 100 * row.time.mfu), textcoords="offset points", xytext=(0, 8), ha="center", fontsize=8
        )
    axes.set_xticks(list(places), [str(row.ranks) for row in stage.rows])
    axes.set_xlim(-0.5, len(stage.rows) - 0.5)
    axes.set_ylim(0, 1.5 * max(100 * row.time.mfu for row in stage.rows))
    axes.set_title(f"{stage.name}: speed", loc="left")
    axes.set(xlabel="GPUs", ylabel="MFU, %")
