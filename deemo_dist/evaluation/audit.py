"""The audit's report: one HTML file with everything in it, in the manner of the evaluation's; masked pictures only."""

import io
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from deemo_dist.deid.audit.clip import RAW, RELEASED
from deemo_dist.deid.audit.figures import ALIKE, CLEAR, FACE, Attack, AuditFigures, Spread
from deemo_dist.deid.audit.linkage import Linkage
from deemo_dist.deid.audit.speakers import SpeakerFigures
from deemo_dist.deid.audit.statistics import Share
from deemo_dist.evaluation import plots
from deemo_dist.evaluation.metrics import Estimate
from deemo_dist.evaluation.report import environment, percent

STILLS = 24
KINDS = {RAW: "not masked", RELEASED: "released", "fill": "opaque fill", "mosaic": "mosaic", "blur": "blur"}
GALLERIES = {CLEAR: "clear", ALIKE: "alike"}
DRAWN = ((RAW, CLEAR), (RELEASED, CLEAR), (RELEASED, ALIKE), ("mosaic", ALIKE), ("blur", ALIKE))
SPEAKERS = {"raw": "not disguised"}
UTILITY = {
    "f0_correlation": ("Melody kept", "correlation of pitch, raw and released"),
    "loudness_correlation": ("Loudness kept", "correlation of loudness in dB"),
    "sync_ms": ("Sound later by", "ms against the raw sound"),
    "keypoint_agreement": ("Keypoints found again", "share within a quarter of a shoulder width, head left out"),
}


def render_audit(figures: AuditFigures, stills: Sequence[np.ndarray]) -> str:
    """The report as HTML. ``stills``: released (masked) frames, uint8 [H, W, 3]. Every text is escaped."""
    return (
        environment(share=share_words, spread=spread_words, spelled_kind=kind_words, attacker=attacker_words)
        .get_template("audit.html.j2")
        .render(
            figures=figures,
            created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            headline=_headline(figures),
            plots=_plots(figures),
            stills=[_png(still) for still in _spaced(stills)],
            utility=[(*UTILITY.get(name, (name, "")), value) for name, value in figures.utility.items()],
            galleries=GALLERIES,
        )
    )


def _headline(figures: AuditFigures) -> list[tuple[str, str, str]]:
    """The tiles: (what, figure, small print)."""
    clear, alike = _worst(figures, CLEAR), _worst(figures, ALIKE)
    tiles = [
        (
            "Faces still seen",
            percent(figures.residual.value),
            f"of {figures.looks} frames; {_interval(figures.residual)}",
        )
    ]
    if clear is not None and clear.match is not None:
        tiles.append(
            ("Faces matched", percent(clear.match.value), f"of {clear.match.count} clips; {_interval(clear.match)}")
        )
    tiles += [_rank("Rank-1, clear gallery", clear), _rank("Rank-1, masked alike", alike)]
    if figures.words is not None and figures.words.there:
        words = figures.words
        tiles.append(("Names gone", percent(words.recall.value), f"of {words.there} known; {_interval(words.recall)}"))
    if figures.words is not None and figures.words.found and figures.words.found_recall is not None:
        gone = figures.words.found_recall
        tiles.append(("Others named gone", percent(gone.value), f"of {figures.words.found} found; {_interval(gone)}"))
    tiles += [_informed(item) for item in figures.speakers]
    tiles.append(_rank("Whole picture, rank-1", figures.picture))
    return tiles


def _worst(figures: AuditFigures, gallery: str) -> Linkage | None:
    """Of the attacks on what is released, by faces and by heads, the one that names or matches more."""
    found = [a.linkage for a in figures.attacks if (a.kind, a.gallery) == (RELEASED, gallery) and a.linkage is not None]
    return max(found, key=lambda one: (one.match.value if one.match else 0.0, one.rank1.value), default=None)


def _rank(title: str, linkage: Linkage | None) -> tuple[str, str, str]:
    if linkage is None:
        return title, "–", "not estimable: fewer than two people with two clips"
    value = linkage.rank1
    few = "" if linkage.estimable else " · few people: not estimable"
    return title, f"{value.value:.3f}", f"chance {linkage.chance:.3f}; {_interval(value)}{few}"


def _informed(found: SpeakerFigures) -> tuple[str, str, str]:
    """The equal error rate of the attacker who knows most."""
    title = f"Voice under {found.method}, equal error"
    if not found.estimable:
        return title, "–", found.shortfall
    last = found.attacks[-1]
    return title, f"{last.eer.value:.3f}", f"{last.attacker}, guessing 0.5; {_interval(last.eer)}"


def _interval(value: Share) -> str:
    return "no interval" if not value.count else f"95 %: {value.low:.3f} – {value.high:.3f}"


def share_words(value: Share | None) -> str:
    """A share with its interval and what it is taken over."""
    if value is None or not value.count:
        return "not measured"
    return f"{percent(value.value)} ({_interval(value)}; over {value.count}, in {value.clusters} groups)"


def spread_words(value: Spread | None) -> str:
    """Median and the middle nine tenths."""
    if value is None:
        return "not measured"
    return f"{value.median:.2f} (5 to 95 %: {value.low:.2f} to {value.high:.2f}; {value.clips} values)"


def kind_words(kind: str) -> str:
    """A masking kind in plain words."""
    return KINDS.get(kind, kind)


def attacker_words(attacker: str) -> str:
    """An attacker on voices in plain words."""
    return SPEAKERS.get(attacker, attacker)


def _plots(figures: AuditFigures) -> Mapping[str, bytes | None]:
    """SVGs by name; None where there is nothing to draw."""
    return _face_plots(figures) | {f"voices {item.method}": _voice_plot(item) for item in figures.speakers}


def _voice_plot(found: SpeakerFigures) -> bytes | None:
    """Scores as a curve for each attacker; None where nothing can be said."""
    if not found.estimable:
        return None
    return plots.curves(
        [
            plots.Curve(label=attacker_words(item.attacker), points=item.curve, strong="informed" in item.attacker)
            for item in found.attacks
        ],
        x="strangers taken for the speaker",
        y="clips of the speaker found",
        chance=[(0, 0), (1, 1)],
    )


def _face_plots(figures: AuditFigures) -> dict[str, bytes | None]:
    found = [(attack, attack.linkage) for attack in figures.attacks if attack.linkage is not None]
    if not found:
        return {"bars": None, "roc": None, "cmc": None}
    chance = found[0][1].chance
    bars = [
        plots.Bar(label=_label(attack), estimate=_estimate(linkage.rank1), strong=attack.kind == RELEASED)
        for attack, linkage in found
    ]
    lines = [
        (attack, linkage) for attack, linkage in found if (attack.kind, attack.gallery) in DRAWN and attack.crop == FACE
    ]
    ranks = len(found[0][1].cmc)
    guess = [(1, chance), (ranks, min(1.0, ranks * chance))]
    return {
        "bars": plots.bars(bars, chance=chance, label="rank-1"),
        "roc": plots.curves(
            [_curve(attack, linkage.roc) for attack, linkage in lines],
            x="pairs of two people taken for one",
            y="pairs of one person found",
            chance=[(0, 0), (1, 1)],
        ),
        "cmc": plots.curves(
            [_curve(attack, list(enumerate(linkage.cmc, start=1))) for attack, linkage in lines],
            x="people named, best first",
            y="right one among them",
            chance=guess,
        ),
    }


def _curve(attack: Attack, points: Sequence[tuple[float, float]]) -> plots.Curve:
    return plots.Curve(label=_label(attack), points=points, strong=attack.kind == RELEASED)


def _label(attack: Attack) -> str:
    crop = "" if attack.crop == FACE else f", {attack.crop}"
    return f"{kind_words(attack.kind)}, {GALLERIES[attack.gallery]}{crop}"


def _estimate(value: Share) -> Estimate:
    return Estimate(value=value.value if math.isfinite(value.value) else 0.0, low=value.low, high=value.high)


def _spaced(stills: Sequence[np.ndarray]) -> list[np.ndarray]:
    """At most ``STILLS`` of them, evenly."""
    step = max(1, math.ceil(len(stills) / STILLS))
    return list(stills[::step])


def _png(frame: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
