"""report.html: one file with everything in it (no network, no scripts), escaped, readable on a desktop and a phone."""

import base64
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deemo_dist.evaluation import plots
from deemo_dist.evaluation.ablation import ALL, BODY, AblationRow
from deemo_dist.evaluation.facts import ReportData, StageCurve
from deemo_dist.evaluation.metrics import Estimate
from deemo_dist.evaluation.recognition import Recognition
from deemo_dist.evaluation.subgroups import FEW_SUBJECTS, SubgroupRow, widest_gap

if TYPE_CHECKING:
    import jinja2

TEMPLATES = Path(__file__).parent / "templates"
_SPACE = "\u00a0"
_METHODS = {
    "fill": "covered with an opaque fill",
    "mosaic": "mosaic (not de-identified: for reproduction only)",
    "blur": "blurred (not de-identified: for reproduction only)",
    "world": "disguised: formants shifted (WORLD)",
    "mcadams": "disguised: spectral envelope shifted (McAdams)",
    "sum": "disguised: formants shifted and McAdams",
    "prosody": "removed: melody, loudness and voicing are left",
    "scrub": "personal details replaced by placeholders",
    "scrub:given": "given, personal details replaced by placeholders",
    "scrub:asr": "by speech recognition, personal details replaced by placeholders",
    "scrub:none": "none",
    "drop": "left out",
    "none": "no sound",
}
_MIME = {"svg": "image/svg+xml", "png": "image/png", "mp4": "video/mp4"}


def write_report(data: ReportData, path: Path) -> Path:
    """Write the report to ``path``, whole or not at all, and return it. Raises ``OSError`` when it cannot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    page = render_report(data)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False, encoding="utf-8") as file:
        file.write(page)
    temporary = Path(file.name)
    temporary.chmod(0o644)
    return temporary.replace(path)


def render_report(data: ReportData) -> str:
    """The report as HTML. Every text is escaped; media are inlined as base64."""
    found = environment(figure=figure, span=span, change=change, duration=duration, count=count, spelled=spelled)
    evaluation = data.evaluation
    return found.get_template("report.html.j2").render(
        data=data,
        result=evaluation.likelihood,
        generation=evaluation.generation,
        headline=_headline(data),
        reading=_reading(data),
        plots=_plots(data),
        gaps=widest_gap(evaluation.subgroups),
        condition_title=condition_title,
        clips_of=clips_of,
    )


def environment(**filters: Callable[..., str]) -> "jinja2.Environment":
    """Where the reports' templates are, with ``filters`` beside those that all of them use."""
    import jinja2

    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(inline=inline, percent=percent, **filters)
    return found


def _plots(data: ReportData) -> dict[str, Any]:
    """SVGs by section; empty where there is nothing to plot."""
    evaluation = data.evaluation
    chance = evaluation.likelihood.chance_majority
    return {
        "losses": [_loss_plot(stage) for stage in data.stages if stage.steps],
        "confusion": plots.confusion(evaluation.likelihood.confusion, evaluation.likelihood.choices),
        "generation": _confusion_of(evaluation.generation),
        "ablation": plots.bars(_ablation_bars(evaluation.ablation), chance=chance) if evaluation.ablation else None,
        "subgroups": plots.bars(_subgroup_bars(evaluation.subgroups), chance=chance) if evaluation.subgroups else None,
    }


def _confusion_of(found: Recognition | None) -> bytes | None:
    return plots.confusion(found.confusion, found.choices) if found else None


def _loss_plot(stage: StageCurve) -> bytes:
    return plots.losses(stage.name, stage.steps, stage.losses, stage.validation_steps, stage.validation_losses)


def _ablation_bars(rows: Sequence[AblationRow]) -> list[plots.Bar]:
    return [
        plots.Bar(label=condition_title(row.name), estimate=row.recognition.accuracy, strong=row.name == ALL)
        for row in rows
    ]


def _subgroup_bars(rows: Sequence[SubgroupRow]) -> list[plots.Bar]:
    return [
        plots.Bar(label=f"{row.attribute}: {row.value}", estimate=row.recognition.accuracy, strong=not row.few)
        for row in rows
    ]


def condition_title(name: str) -> str:
    """``without_audio`` as ``without audio``, ``audio`` as ``audio alone``, ``all`` as ``all modalities``, ``body`` as
    what it is."""
    if name in (ALL, BODY):
        return "all modalities" if name == ALL else "video and cues alone"
    return name.replace("_", " ") if name.startswith("without_") else f"{name} alone"


def _headline(data: ReportData) -> list[tuple[str, str, str]]:
    """The tiles: (what, figure, small print)."""
    result, generation, deid = data.evaluation.likelihood, data.evaluation.generation, data.deid
    tiles = [
        ("Accuracy", figure(result.accuracy), span(result.accuracy)),
        ("Weighted F1", figure(result.weighted_f1), span(result.weighted_f1)),
        ("Macro F1", figure(result.macro_f1), span(result.macro_f1)),
        ("Chance", f"{result.chance_majority:.3f}", f"majority; uniform {result.chance_uniform:.2f}"),
    ]
    if generation:
        failed = f"{generation.parse_failures} of {generation.samples} answers unreadable"
        tiles.append(("By generation", figure(generation.accuracy), failed))
    detector = ", ".join(deid.audit_detectors) or "no detector"
    tiles.append(("Residual face rate", percent(deid.residual_face_rate), f"by {detector}"))
    return tiles


def _reading(data: ReportData) -> str:
    """One sentence that says what the headline means, for better or worse."""
    result = data.evaluation.likelihood
    low, value = result.accuracy.low, result.accuracy.value
    if result.subjects < FEW_SUBJECTS:
        judgement = f"under {FEW_SUBJECTS} subjects nothing follows from it"
    elif low is None:
        judgement = f"there is no interval ({result.accuracy.missing}), so nothing follows from it"
    elif low > result.chance_majority:
        judgement = "its whole interval lies above chance"
    elif value > result.chance_majority:
        judgement = "its interval reaches down to chance, so the model may have learnt nothing"
    else:
        judgement = "that is no better than chance"
    return (
        f"On {clips_of(result, alone=data.deid.alone)} of the {data.evaluation.split} split the model names the right"
        f" label in {value:.1%} of cases (chance {result.chance_majority:.1%}): {judgement}."
    )


def clips_of(result: Recognition, *, alone: bool) -> str:
    """How many clips of how many subjects; ``alone``: every clip of the dataset is another subject's."""
    if alone:
        return f"{result.samples} clips, each counted as another subject's (how many people they are is not known),"
    return f"{result.samples} clips of {result.subjects} {'subject' if result.subjects == 1 else 'subjects'}"


def inline(data: bytes, kind: str) -> str:
    """A data URI of ``data``; ``kind`` is svg, png or mp4."""
    return f"data:{_MIME[kind]};base64,{base64.b64encode(data).decode('ascii')}"


def percent(share: float) -> str:
    """0.0123 as 1.23 %; a small one never rounds to zero; not a number as a dash."""
    if not math.isfinite(share):
        return "\u2013"
    if 0 < share < 0.0001:
        return f"< 0.01{_SPACE}%"
    return f"{100 * share:.2f}{_SPACE}%" if share < 0.1 else f"{100 * share:.0f}{_SPACE}%"


def figure(estimate: Estimate) -> str:
    """An estimate's value with three decimals, a dash when there is none."""
    return f"{estimate.value:.3f}" if math.isfinite(estimate.value) else "\u2013"


def span(estimate: Estimate) -> str:
    """The 95 % interval in words."""
    if estimate.low is None or estimate.high is None:
        return f"no interval ({estimate.missing})"
    return f"95 %: {estimate.low:.2f} \u2013 {estimate.high:.2f}"


def change(estimate: Estimate | None) -> str:
    """A signed difference with its interval."""
    if estimate is None:
        return ""
    if estimate.low is None or estimate.high is None:
        return _signed(estimate.value)
    return f"{_signed(estimate.value)} ({_signed(estimate.low)} to {_signed(estimate.high)})"


def _signed(value: float) -> str:
    """Two decimals with a sign, a true minus for a negative one."""
    return f"{value:+.2f}".replace("-", "\u2212")


def spelled(words: Sequence[str]) -> str:
    """Methods of de-identification by their short names, said in plain words."""
    return ", ".join(_METHODS.get(word, word) for word in words) or "\u2013"


def duration(seconds: float) -> str:
    """Seconds as 12 s, 3 min 20 s or 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def count(number: int) -> str:
    """A whole number with thin spaces between thousands."""
    return f"{number:,}".replace(",", "\u202f")
