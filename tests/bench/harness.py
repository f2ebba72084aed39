"""Interleave ours and the peer's, take medians, say the ratio and whether the goal holds."""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Work:
    """One comparison. ``ours`` and ``theirs`` do the work once and return a rate in ``unit`` (higher is better).

    ``rounds``: how many pairs are taken after one warm-up; 1 for what cannot differ, which is looked at once."""

    work: str
    peer: str
    unit: str
    goal: float
    ours: Callable[[], float]
    theirs: Callable[[], float]
    rounds: int = 5


@dataclass(frozen=True, kw_only=True)
class Row:
    """The medians of one comparison; ``ratio`` is ours over theirs, ``low`` and ``high`` the interval that the median
    lies in: the least and the largest of five pairs, 94 % (binomial). ``holds``: whether ``ratio`` reaches ``goal``.
    """

    work: str
    peer: str
    unit: str
    ours: float
    theirs: float
    ratio: float
    low: float
    high: float
    goal: float
    holds: bool


def compare(work: Work) -> Row:
    """Run ours and theirs in turn; the ratio is the median of the pairs' ratios."""
    if work.rounds > 1:
        work.ours(), work.theirs()
    pairs = [(work.ours(), work.theirs()) for _ in range(work.rounds)]
    ratios = sorted(ours / theirs for ours, theirs in pairs)
    ratio = statistics.median(ratios)
    return Row(
        work=work.work,
        peer=work.peer,
        unit=work.unit,
        ours=statistics.median(ours for ours, _ in pairs),
        theirs=statistics.median(theirs for _, theirs in pairs),
        ratio=ratio,
        low=ratios[0],
        high=ratios[-1],
        goal=work.goal,
        holds=ratio >= work.goal,
    )


def show(row: Row) -> None:
    """Print two lines: what was compared, and what came of it."""
    print(f"{row.work}, beside {row.peer}" + (f" ({row.unit})" if row.unit else ""))
    print(f"  {_figures(row)}", flush=True)


def write(name: str, rows: Sequence[Row], folder: Path = Path("build/bench")) -> None:
    """Write ``build/bench/NAME.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps([asdict(row) for row in rows], indent=1))


def _figures(row: Row) -> str:
    interval = f"{row.low:.3g} to {row.high:.3g}"
    return (
        f"ours {_figure(row.ours):>11}   theirs {_figure(row.theirs):>11}   ratio {row.ratio:6.4g} ({interval:^14})"
        f"   goal {row.goal:5.4g} {'reached' if row.holds else 'NOT reached'}"
    )


def _figure(value: float) -> str:
    return f"{value:,.1f}" if value >= 10 else f"{value:.4f}"
