"""Interleave ours and the peer's, take medians, say the ratio and whether the goal holds."""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


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


def publish(name: str, rows: Sequence[Row], folder: Path = Path("build/bench")) -> None:
    """Print the table and write ``build/bench/NAME.json``."""
    table = Table(title=f"bench {name}: medians, in one run")
    for column in ("work", "peer", "unit", "ours", "theirs", "ratio", "interval", "goal", "holds"):
        table.add_column(column, justify="left" if column in ("work", "peer", "unit") else "right")
    for row in rows:
        figures = [_figure(row.ours), _figure(row.theirs), f"{row.ratio:.4g}"]
        figures += [f"{row.low:.3g}-{row.high:.3g}", f"{row.goal:.2f}"]
        table.add_row(row.work, row.peer, row.unit, *figures, "yes" if row.holds else "no")
    Console().print(table)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps([asdict(row) for row in rows], indent=1))


def _figure(value: float) -> str:
    return f"{value:,.1f}" if value >= 10 else f"{value:.4f}"
