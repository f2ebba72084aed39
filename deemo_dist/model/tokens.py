"""How many tokens each medium of an example becomes: pure functions of the index row and the sizes, no media needed.

============  ===========================  ==============  ============
projector     video, a clip                audio, a window  cues, a clip
============  ===========================  ==============  ============
mlp           ``tokens`` * frames          ``tokens``       ``tokens``
qformer       ``tokens``                   ``tokens``       ``tokens``
stc           ``tokens`` * ceil(frames/2)  ``tokens``       ``tokens``
============  ===========================  ==============  ============
"""

import math
from dataclasses import dataclass

from deemo_dist.model.configuration import MediaShape, ProjectorShape
from deemo_dist.records import Example

ROUNDING_SECONDS = 0.01


@dataclass(frozen=True, kw_only=True)
class MediaCounts:
    """What one example shows: ``clips`` and ``cues`` 0 or 1, ``windows`` of audio; and the tokens each becomes."""

    clips: int
    windows: int
    cues: int
    video_tokens: int
    audio_tokens: int
    cue_tokens: int


def video_tokens(projector: ProjectorShape, frames: int) -> int:
    """Tokens of a clip of ``frames`` frames."""
    if projector.kind == "qformer":
        return projector.tokens
    return projector.tokens * (frames if projector.kind == "mlp" else math.ceil(frames / 2))


def audio_windows(seconds: float, media: MediaShape) -> int:
    """Windows given to the audio tower for a sound of ``seconds``: 0 for silence, else 1 to ``media.audio_windows``."""
    if seconds <= 0:
        return 0
    return min(media.audio_windows, max(1, math.ceil((seconds - ROUNDING_SECONDS) / media.audio_window)))


def count_media(
    example: Example, media: MediaShape, video: ProjectorShape, audio: ProjectorShape, cue: ProjectorShape
) -> MediaCounts:
    """What ``example`` shows of the media its sample has."""
    row, shown = example.sample, example.modalities
    clips = int("video" in shown and row.frames > 0)
    windows = audio_windows(row.audio_seconds, media) if "audio" in shown else 0
    cues = int("cues" in shown and row.cue_frames > 0)
    return MediaCounts(
        clips=clips,
        windows=windows,
        cues=cues,
        video_tokens=clips * video_tokens(video, media.frames),
        audio_tokens=windows * audio.tokens,
        cue_tokens=cues * cue.tokens,
    )
