"""What the passes over a clip found: handed from one to the next, and attested in the end."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from deemo_dist.deid.audit.faces import FaceAudit
from deemo_dist.deid.body.people import Bodies
from deemo_dist.deid.faces.cover import Cover
from deemo_dist.deid.text.spoken import Spoken
from deemo_dist.media import VideoInfo


@dataclass(frozen=True)
class Seen:
    """What the first pass found: when frames are shown, what to mask, who moves how."""

    times: np.ndarray
    cover: Cover
    bodies: Bodies


@dataclass(frozen=True)
class Voice:
    """The sound that may leave: ``flac`` of ``samples`` at 16 kHz, mono; ``figures``: what was measured."""

    flac: bytes
    samples: int
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Heard:
    """What became of the sound and the words. ``seconds``: of the raw sound."""

    spoken: Spoken
    sound: Voice | None
    seconds: float


@dataclass(frozen=True)
class Released:
    """What was written, and what the audit saw on the way: of faces, at its worst. ``masked_area``: mean share of a
    frame that was masked before the audit; ``mended``: frames in which more was because the audit saw it open."""

    video: VideoInfo
    checked: FaceAudit
    masked_area: float
    mended: int = 0
