"""A forecast of the data plane as tables and words, or as plain data."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from deemo_dist.planning.data.forecast import Limit
from pipelines.plan_data import StageForecast


def plain(stages: Sequence[StageForecast]) -> dict[str, Any]:
    """Bytes, seconds, counts; each limit with its load."""
    found: dict[str, Any] = {}
    for stage in stages:
        value = asdict(stage)
        for limit, row in zip(stage.forecast.limits, value["forecast"]["limits"], strict=True):
            row["load"] = limit.load
        found[stage.name] = value | {"verdict": verdict(stage)}
    return found


def print_forecast(stages: Sequence[StageForecast]) -> None:
    """Tables on standard output: with lines on a terminal, plain columns elsewhere."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    style = box.SIMPLE_HEAD if console.is_terminal else None
    for stage in stages:
        cluster, scale = stage.cluster, stage.scale
        console.print(
            f"stage {stage.name}: {scale.samples:,} samples, {scale.examples:,} examples shown in {scale.windows:,} "
            f"windows and {scale.steps:,} steps, on {cluster.ranks:,} ranks of {cluster.nodes:,} nodes",
            soft_wrap=True,
        )
        table = Table(box=style, show_header=style is not None, pad_edge=False)
        for column in ("what", "figure", "from"):
            table.add_column(column)
        for row in _rows(stage):
            table.add_row(*row)
        console.print(table)
        limits = Table(box=style, pad_edge=False)
        for column in ("limit", "needs", "has", "load"):
            limits.add_column(column)
        for limit in stage.forecast.limits:
            limits.add_row(limit.name, _amount(limit, limit.needs), _amount(limit, limit.has), f"{limit.load:,.1%}")
        console.print(limits)
        for line in verdict(stage):
            console.print(line, soft_wrap=True)
        console.print("")


def verdict(stage: StageForecast) -> list[str]:
    """What breaks first, why, and what to change; or what is nearest to it."""
    found = stage.forecast
    broken = [limit for limit in found.limits if limit.load > 1]
    lines = [
        f"{'breaks first' if number == 0 else 'breaks too'}: {limit.name} ({limit.load:,.1f} times what there is): "
        f"{limit.says}. To change: {limit.change}."
        for number, limit in enumerate(sorted(broken, key=lambda limit: -limit.load))
    ]
    if not broken and found.limits:
        nearest = max(found.limits, key=lambda limit: limit.load)
        lines.append(f"nothing breaks; the nearest to its limit: {nearest.name} ({nearest.load:.1%})")
    if stage.cluster.step_seconds is None:
        lines.append(
            f"a step's rates are not judged without --step-seconds: as it is, data let a step take "
            f"{_span(found.fastest_step)} at the least"
        )
    return lines


def _rows(stage: StageForecast) -> list[tuple[str, str, str]]:
    found, simulated = stage.forecast, f"simulated, {stage.simulated_steps} steps"
    rows = [
        ("requests a step", f"{found.requests_per_step:,.1f} (at most {found.worst_requests:,})", simulated),
        ("requests a sample", f"{found.requests_per_sample:.3f}", simulated),
        ("bytes a step", _bytes(found.bytes_per_step), simulated),
        ("bytes a sample", _bytes(found.bytes_per_sample), simulated),
        *_cache(stage, simulated),
        ("index and plan, a process", _bytes(found.process_memory), "rows of this dataset, by count"),
        ("index and plan, a node", _bytes(found.node_memory), "rows of this dataset, by count"),
        ("read at the start, a node", _bytes(found.start_bytes), "rows of this dataset, by count"),
        ("tabulating the plan, once", _span(found.tabulation_seconds), "one window measured here, by count"),
        ("to the first batch", _span(found.first_batch_seconds), "measured here, by count"),
        ("resume, at any step", _span(found.resume_seconds), "measured here, by count"),
    ]
    seconds = stage.cluster.step_seconds
    if seconds:
        rows.insert(1, ("requests a second", f"{found.requests_per_step / seconds:,.1f}", "at the step's seconds"))
        per_node = found.bytes_per_step / seconds / stage.cluster.nodes
        rows.insert(4, ("bytes a second and node", _bytes(per_node), "at the step's seconds"))
    return rows


def _cache(stage: StageForecast, simulated: str) -> list[tuple[str, str, str]]:
    if not stage.scale.cache_bytes:
        return [("cache", "none", "the run's storage is files, or storage.cache_mb is 0")]
    return [
        ("blocks found in the cache", f"{stage.forecast.hit_share:.1%}", simulated),
        ("cache needed a node", _bytes(stage.forecast.cache_needed), simulated),
    ]


def _amount(limit: Limit, value: float) -> str:
    if limit.unit.startswith("bytes"):
        return _bytes(value) + limit.unit.removeprefix("bytes")
    return f"{value:,.4g} {limit.unit}"


def _bytes(value: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:,.3g} TB"


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
