"""A disguised voice: what identifies the speaker is shifted by a keyed amount, what carries emotion is kept.

Kept: the contour of f0 (its level and movement), the loudness contour, timing. Shifted: the spectral envelope. None of
the methods is strong against an informed attacker (see the docs for measured error rates): say "disguised".
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from deemo_dist.deid.voice import mcadams, world
from deemo_dist.errors import DeidError
from deemo_dist.media import resample

RATE = 16_000
QUIETEST = 2.0**-15
SHORTEST = RATE // 4
WARP = (1.10, 1.20)
ALPHA = (0.5, 0.9)
ALPHA_IN_SUM = (0.75, 0.88)
HOP = 160
LOUDEST_GAIN = 8.0
MOVING = 0.5  # semitones: below it a correlation of f0 says nothing


@dataclass(frozen=True)
class Disguised:
    """``waveform``: float32 [N] at 16 kHz in [-1, 1]; ``figures``: what was measured, never the parameters."""

    waveform: np.ndarray
    figures: dict[str, float] = field(default_factory=dict)


def disguise(
    waveform: np.ndarray, rate: int, *, method: Literal["world", "mcadams", "sum"], seed: int
) -> Disguised | None:
    """Disguise the voice in ``waveform`` (float32 [N], mono, at ``rate`` Hz). None where there is no sample at all.

    ``seed`` (secret, one a clip) draws the parameters. The result lasts as long, within one sample. A sound below the
    last bit of 16-bit audio becomes exact silence. Raises ``DeidError`` (stage voice) for values that are not finite
    or another shape or rate.
    """
    sound = resample(_checked(waveform, rate), rate, RATE).astype(np.float64)
    if not len(sound):
        return None
    if np.abs(sound).max() < QUIETEST:
        return Disguised(waveform=np.zeros(len(sound), dtype=np.float32), figures={"voice_silent": 1.0})
    padded = np.pad(sound, (0, max(0, SHORTEST - len(sound))))
    shifted = _with_loudness_of(padded, _shift(padded, method, np.random.default_rng(seed)))[: len(sound)]
    limited = np.clip(shifted, -1.0, 1.0).astype(np.float32)
    return Disguised(waveform=limited, figures=_measure(sound, shifted))


def _checked(waveform: np.ndarray, rate: int) -> np.ndarray:
    if waveform.ndim != 1 or not 1_000 <= rate <= 384_000:
        raise DeidError(
            f"the sound is {waveform.ndim}-dimensional at {rate} Hz, not mono", stage="voice", reason="bad_audio"
        )
    if not np.isfinite(waveform).all():
        raise DeidError("the sound holds values that are not finite", stage="voice", reason="bad_audio")
    return waveform


def _shift(sound: np.ndarray, method: str, random: np.random.Generator) -> np.ndarray:
    """Apply the method with parameters drawn from ``random``, always in the same order."""
    warp = random.uniform(*WARP)
    warp = warp if random.random() < 0.5 else 1.0 / warp
    share = random.random()
    if method == "mcadams":
        return mcadams.shift_poles(sound, ALPHA[0] + share * (ALPHA[1] - ALPHA[0]))
    shifted = world.shift_formants(sound, warp)
    if method == "world":
        return shifted
    return mcadams.shift_poles(shifted, ALPHA_IN_SUM[0] + share * (ALPHA_IN_SUM[1] - ALPHA_IN_SUM[0]))


def loudness(sound: np.ndarray) -> np.ndarray:
    """Root mean square over 40 ms every 10 ms: float64 [ceil(N / 160)]."""
    power = np.concatenate([[0.0], np.cumsum(np.pad(sound, (0, HOP)) ** 2)])
    centres = np.arange(-(-len(sound) // HOP)) * HOP + HOP // 2
    low, high = np.clip(centres - 2 * HOP, 0, len(sound)), np.clip(centres + 2 * HOP, 0, len(sound))
    return np.sqrt(np.maximum(power[high] - power[low], 0.0) / np.maximum(high - low, 1))


def _with_loudness_of(original: np.ndarray, shifted: np.ndarray) -> np.ndarray:
    """``shifted`` with the loudness contour of ``original``: a slow gain, bounded so that noise is not blown up."""
    wanted, have = loudness(original), loudness(shifted)
    gain = np.clip(wanted / np.maximum(have, 1e-6), 0.0, LOUDEST_GAIN)
    at = np.arange(len(gain)) * HOP + HOP // 2
    return shifted * np.interp(np.arange(len(shifted)), at, gain)


def _measure(original: np.ndarray, shifted: np.ndarray) -> dict[str, float]:
    """How well f0 and loudness were kept: correlations (of f0 only where it moves by half a semitone), the median error
    of f0 in semitones, shares voiced and clipped."""
    figures = {"voice_clipped_share": float((np.abs(shifted) > 1.0).mean())}
    before, after = world.pitch(original), world.pitch(shifted)
    voiced = (before > 0) & (after > 0)
    figures["voiced_share"] = float((before > 0).mean()) if len(before) else 0.0
    contours = [12 * np.log2(track[voiced]) for track in (before, after)]
    if voiced.any():
        figures["f0_error_semitones"] = float(np.median(np.abs(contours[1] - contours[0])))
    pitch = correlation(*contours) if voiced.any() and _spread(contours[0]) >= MOVING else None
    level = [20 * np.log10(np.maximum(loudness(sound), 1e-5)) for sound in (original, shifted)]
    loud = correlation(*level)
    figures |= {"f0_correlation": pitch} if pitch is not None else {}
    return figures | ({"loudness_correlation": loud} if loud is not None else {})


def _spread(contour: np.ndarray) -> float:
    """Half the range of all but the lowest and highest twentieth: one octave error does not make a contour move."""
    low, high = np.percentile(contour, [5, 95])
    return float(high - low) / 2


def correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    """Pearson's r; None for fewer than 10 values or a constant."""
    if len(first) < 10 or float(np.std(first)) < 1e-9 or float(np.std(second)) < 1e-9:
        return None
    return float(np.corrcoef(first, second)[0, 1])
