"""A raw sound as the stages take it: mono, finite, at 16 kHz."""

import numpy as np

from deemo_dist.errors import DeidError
from deemo_dist.media import SOUND_RATE, Sound, resample


def at_sound_rate(heard: Sound, rate: int, *, stage: str) -> Sound:
    """The sound at 16 kHz; one that is there already is not read, so that its parts are to be checked as they are.

    Raises ``DeidError`` (``stage``: bad_audio) for what cannot be brought to it.
    """
    if getattr(heard, "ndim", 1) != 1 or not 1_000 <= rate <= 384_000:
        raise DeidError(f"the sound is not mono, or has {rate} samples a second", stage=stage, reason="bad_audio")
    if rate == SOUND_RATE:
        return heard
    waveform = heard[:]
    check_finite(waveform, stage=stage)
    return resample(waveform, rate, SOUND_RATE)


def check_finite(samples: np.ndarray, *, stage: str) -> None:
    """Raise ``DeidError`` (``stage``: bad_audio) where a value is not finite."""
    if not np.isfinite(samples).all():
        raise DeidError("the sound is not finite mono samples", stage=stage, reason="bad_audio")
