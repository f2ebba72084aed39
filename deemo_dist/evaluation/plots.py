"""The report's plots: SVG of matplotlib, one width, so that type keeps its size on a desktop and on a phone."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deemo_dist.evaluation.metrics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#1d2733", "#5f6f80", "#e3e8ee"
BLUE, AMBER, GREY, RED = "#2f6fdb", "#e08a1e", "#b4bfcb", "#c8433c"
_WIDTH = 4.9
_NARROW = 4.1
_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "svg.hashsalt": "deemo",
    "svg.fonttype": "path",
    "text.parse_math": False,  # a label may hold a dollar sign
}


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A labelled estimate in 0..1; ``strong`` ones are drawn in colour, the others in grey."""

    label: str
    estimate: Estimate
    strong: bool = True


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A line through (x, y) points in 0..1 or at whole x; ``strong`` ones are drawn thick and in colour."""

    label: str
    points: Sequence[tuple[float, float]]
    strong: bool = False


@contextmanager
def _canvas(width: float, height: float) -> Iterator[tuple["Figure", "Axes"]]:
    """A figure without pyplot's global state, in the report's style."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.add_subplot()


def _svg(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return buffer.getvalue()


def bars(rows: Sequence[Bar], *, chance: float, label: str = "accuracy") -> bytes:
    """Horizontal bars with 95 % intervals and a dashed chance line, first row on top. SVG."""
    with _canvas(_WIDTH, 0.9 + 0.36 * max(len(rows), 2)) as (figure, axes):
        places = np.arange(len(rows))[::-1]
        colours = [BLUE if row.strong else GREY for row in rows]
        axes.barh(places, [row.estimate.value for row in rows], height=0.62, color=colours)
        for place, row in zip(places, rows, strict=True):
            _interval(axes, float(place), row.estimate)
        axes.plot([chance, chance], [-0.6, len(rows) - 0.5], color=AMBER, linestyle=(0, (4, 3)), linewidth=1.6)
        axes.text(chance, len(rows) - 0.45, f"chance {chance:.2f}", color=AMBER, ha="center", va="bottom", size=9)
        axes.set(xlim=(0, 1.16), ylim=(-0.6, len(rows) - 0.1), xlabel=f"{label} (line: 95 % interval)")
        axes.set_xticks(np.linspace(0, 1, 6))
        axes.set_yticks(places, [row.label for row in rows])
        axes.tick_params(length=0)
        axes.grid(visible=False, axis="y")
        return _svg(figure)


def _interval(axes: "Axes", place: float, estimate: Estimate) -> None:
    low, high = estimate.low, estimate.high
    if low is not None and high is not None:
        axes.plot([low, high], [place, place], color=INK, linewidth=1.6, solid_capstyle="butt")
    end = max(estimate.value, high or 0.0)
    axes.text(end + 0.02, place, f"{estimate.value:.3f}", va="center", size=9.5, color=INK)


def curves(rows: Sequence[Curve], *, x: str, y: str, chance: Sequence[tuple[float, float]] = ()) -> bytes:
    """Lines with a legend below, ``chance`` dashed. SVG."""
    with _canvas(_NARROW, 3.7) as (figure, axes):
        colours = {True: [BLUE, RED, INK], False: [INK, "#7a5ea8", "#2f9e77", MUTED]}
        for row in rows:
            colour = colours[row.strong].pop(0) if colours[row.strong] else MUTED
            axes.plot(
                *zip(*row.points, strict=True), color=colour, linewidth=2.2 if row.strong else 1.3, label=row.label
            )
        if chance:
            axes.plot(*zip(*chance, strict=True), color=AMBER, linestyle=(0, (4, 3)), linewidth=1.4, label="guessing")
        axes.set(xlabel=x, ylabel=y, ylim=(-0.02, 1.03))
        axes.tick_params(length=0)
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8.5)
        return _svg(figure)


def confusion(table: Sequence[Sequence[int]], choices: Sequence[str]) -> bytes:
    """Counts with shares of each truth as shades; a last column for answers that could not be read, if any. SVG."""
    counts = np.asarray(table, dtype=np.int64)
    columns = [*choices, "unread"]
    if not counts[:, -1].any():
        counts, columns = counts[:, :-1], columns[:-1]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    with _canvas(_WIDTH, 1.3 + 0.75 * len(choices)) as (figure, axes):
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.15, aspect="auto")
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.6 else INK
            words = f"{count}\n{shares[row, column]:.0%}"
            axes.text(column, row, words, ha="center", va="center", color=colour, size=10, linespacing=1.5)
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(choices)), choices)
        axes.set(xlabel="answer", ylabel="truth")
        axes.grid(visible=False)
        axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(len(choices) + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=4)
        axes.tick_params(which="both", length=0, labelcolor=INK)
        axes.spines[:].set_visible(False)
        return _svg(figure)


def losses(
    name: str,
    steps: Sequence[int],
    values: Sequence[float],
    validation_steps: Sequence[int] = (),
    validation_values: Sequence[float] = (),
) -> bytes:
    """One stage's loss by step: raw faint, smoothed strong, validation as dots. SVG."""
    with _canvas(_NARROW, 2.7) as (figure, axes):
        few = len(values) < 20
        axes.plot(steps, values, color=BLUE, alpha=1.0 if few else 0.28, linewidth=1.4 if few else 1.0)
        if not few:
            axes.plot(steps, smoothed(values), color=BLUE, linewidth=2.0, label="training")
        if validation_values:
            axes.plot(validation_steps, validation_values, "o-", color=AMBER, markersize=4.5, label="validation")
            axes.legend(frameon=False, loc="upper right", fontsize=9)
        axes.set(xlabel="step", ylabel="loss per token")
        axes.set_title(name, loc="left", size=11, color=INK, fontweight="bold")
        axes.set_ylim(bottom=0)
        axes.tick_params(length=0)
        return _svg(figure)


def smoothed(values: Sequence[float]) -> np.ndarray:
    """Centred mean over about a tenth of the curve, over fewer values at its ends: float64 [N]."""
    reach = max(1, len(values) // 20)
    total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    places = np.arange(len(values))
    reach_here = np.minimum(np.minimum(places, len(values) - 1 - places), reach)
    low, high = places - reach_here, places + reach_here + 1
    return (total[high] - total[low]) / (high - low)
