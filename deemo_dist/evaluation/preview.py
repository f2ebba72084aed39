"""A dataset as a page to look at: masked frames, sound, words and body cues of some samples, in one HTML file.

Nothing is loaded from anywhere (a content policy says so to the browser), there are no scripts, every text is escaped.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from deemo_dist.deid.body.cues import BONES, LEFT_HIP, LEFT_SHOULDER, RIGHT_HIP, RIGHT_SHOULDER
from deemo_dist.evaluation.report import environment
from deemo_dist.records import Annotation, IndexRow, NfblEvent

STILL_WIDTH = 300
SEEN = 0.3
"""Confidence from which a keypoint is drawn."""

_TRUNK = (
    (LEFT_SHOULDER, RIGHT_SHOULDER),
    (LEFT_HIP, RIGHT_HIP),
    (LEFT_SHOULDER, LEFT_HIP),
    (RIGHT_SHOULDER, RIGHT_HIP),
)
_WIDTH, _HEIGHT, _SCALE, _TOP = 100, 150, 30.0, 50.0


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A sample as the page shows it. ``stills``: masked frames uint8 [H, W, 3] at ``times`` (seconds); ``flac``: its
    sound; ``cues``: float16 [C, K, 3] with their times float64 [C], None where it has none."""

    row: IndexRow
    annotation: Annotation | None
    stills: Sequence[np.ndarray]
    times: Sequence[float]
    flac: bytes | None = None
    cues: np.ndarray | None = None
    cue_times: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class _Event:
    """A body-language event on the clip's line, in percent of its length."""

    left: float
    width: float
    words: str
    proposed: bool


def render_preview(title: str, facts: Mapping[str, str], samples: Sequence[Shown]) -> str:
    """The page as HTML. ``facts``: what stands at its head, by name."""
    return (
        environment()
        .get_template("preview.html.j2")
        .render(
            title=title,
            facts=facts,
            created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            samples=[_context(sample) for sample in samples],
        )
    )


def _context(sample: Shown) -> dict[str, object]:
    """What the template takes of one sample."""
    row, said = sample.row, sample.annotation
    seconds = max(row.frames / row.fps if row.fps else 0.0, row.audio_seconds, 1e-3)
    skeletons = [figure(at) if (at := pose_at(sample, time)) is not None else None for time in sample.times]
    return {
        "row": row,
        "seconds": seconds,
        "looks": list(zip([_jpeg(still) for still in sample.stills], sample.times, skeletons, strict=True)),
        "sound": f"data:audio/flac;base64,{base64.b64encode(sample.flac).decode()}" if sample.flac else None,
        "transcript": said.transcript if said else None,
        "labels": dict(said.labels) if said else {},
        "texts": dict(said.texts) if said else {},
        "events": [_event(event, seconds) for event in said.nfbl] if said else [],
        "attestation": row.attestation,
    }


def _event(event: NfblEvent, seconds: float) -> _Event:
    left = min(100.0, 100 * event.start / seconds)
    width = max(0.5, min(100.0 - left, 100 * (event.end - event.start) / seconds))
    score = "" if event.score is None else f", score {event.score:.2f}"
    words = f"{event.type} {event.start:.1f} to {event.end:.1f} s{score}"
    return _Event(left=left, width=width, words=words, proposed=event.score is not None)


def pose_at(sample: Shown, time: float) -> np.ndarray | None:
    """The keypoints nearest to ``time``: float [K, 3]; None where there are none or nobody is seen."""
    if sample.cues is None or sample.cue_times is None or not len(sample.cues):
        return None
    pose = sample.cues[int(np.argmin(np.abs(np.asarray(sample.cue_times) - time)))].astype(np.float64)
    seen = pose[:, 2] >= SEEN
    return pose if seen[[LEFT_SHOULDER, RIGHT_SHOULDER]].all() and np.isfinite(pose).all() else None


def figure(pose: np.ndarray) -> list[tuple[float, float, float, float]]:
    """The bones that are seen, as lines (x0, y0, x1, y1) in a picture of 100 by 150."""
    bones = [*((parent, child) for parent, child, _ in BONES), *_TRUNK]
    lines = []
    for parent, child in bones:
        if max(parent, child) < len(pose) and min(pose[parent, 2], pose[child, 2]) >= SEEN:
            (x0, y0), (x1, y1) = pose[parent, :2], pose[child, :2]
            lines.append(tuple(round(float(value), 1) for value in (*_placed(x0, y0), *_placed(x1, y1))))
    return lines  # type: ignore[return-value]


def _placed(x: float, y: float) -> tuple[float, float]:
    """A point in shoulder widths about the mid-shoulder point, in the picture and kept within it."""
    return (
        float(np.clip(_WIDTH / 2 + x * _SCALE, 0, _WIDTH)),
        float(np.clip(_TOP + y * _SCALE, 0, _HEIGHT)),
    )


def _jpeg(frame: np.ndarray) -> str:
    """A frame, uint8 [H, W, 3], as a small JPEG in a data URI."""
    from PIL import Image

    image = Image.fromarray(frame)
    width = min(STILL_WIDTH, image.width)
    image = image.resize((width, max(1, round(image.height * width / image.width))))
    sink = io.BytesIO()
    image.save(sink, format="JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(sink.getvalue()).decode()}"
