"""What is left for a model: melody, loudness, timing and words of the sound, and the body's keypoints."""

import re
from collections.abc import Sequence

import numpy as np

RATE = 16_000
STEP = 0.01
LONGEST_LAG = 50  # steps of 10 ms
NEAR = 0.25
SURE = 0.5
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def sound_figures(raw: np.ndarray, released: np.ndarray) -> dict[str, float]:
    """Of two float waveforms [N] at 16 kHz: ``f0_correlation`` (log, where both are voiced), ``loudness_correlation``
    (dB) and ``sync_ms`` (how much later the released one is). A figure that means nothing here is absent."""
    from deemo_dist.deid.voice import world
    from deemo_dist.deid.voice.figures import correlation, loudness

    length = min(len(raw), len(released))
    if length < RATE // 4:
        return {}
    first, second = (np.ascontiguousarray(sound[:length], dtype=np.float64) for sound in (raw, released))
    levels = [20 * np.log10(np.maximum(loudness(sound), 1e-4)) for sound in (first, second)]
    pitches = [world.pitch(sound) for sound in (first, second)]
    voiced = (pitches[0] > 0) & (pitches[1] > 0)
    found = {
        "f0_correlation": correlation(*(np.log2(pitch[voiced]) for pitch in pitches)) if voiced.any() else None,
        "loudness_correlation": correlation(*levels),
        "sync_ms": lag(*levels),
    }
    return {name: value for name, value in found.items() if value is not None}


def lag(first: np.ndarray, second: np.ndarray) -> float | None:
    """How many ms ``second`` is behind ``first`` (contours every 10 ms), by their best correlation within half a
    second; None where one does not move."""
    if min(first.std(), second.std()) < 1e-6 or len(first) < 30:
        return None
    reach = min(LONGEST_LAG, len(first) // 3)
    scores = [_overlap(first, second, shift) for shift in range(-reach, reach + 1)]
    best = int(np.argmax(scores))
    shift = 0.0
    if 0 < best < 2 * reach:
        left, middle, right = scores[best - 1 : best + 2]
        bend = left - 2 * middle + right
        shift = 0.5 * (left - right) / bend if bend else 0.0
    return (best - reach + shift) * STEP * 1000


def _overlap(first: np.ndarray, second: np.ndarray, shift: int) -> float:
    """Correlation of ``first`` with ``second`` taken ``shift`` steps later, over what they share; 0 where one rests."""
    one = first[max(0, -shift) : len(first) - max(0, shift)]
    two = second[max(0, shift) : len(second) + min(0, shift)]
    spread = float(one.std() * two.std())
    return float(((one - one.mean()) * (two - two.mean())).mean()) / spread if spread > 1e-9 else 0.0


def words(text: str) -> list[str]:
    """Lower-case words of a text."""
    return _WORD.findall(text.lower())


def word_errors(reference: Sequence[str], heard: Sequence[str]) -> int:
    """The least number of words replaced, left out or put in."""
    row = np.arange(len(heard) + 1)
    for number, word in enumerate(reference, start=1):
        swap = row[:-1] + np.array([word != other for other in heard], dtype=np.int64)
        best = np.concatenate([[number], np.minimum(row[1:] + 1, swap)])
        row = np.minimum.accumulate(best - np.arange(len(best))) + np.arange(len(best))
    return int(row[-1])


def keypoint_agreement(stored: np.ndarray, again: np.ndarray) -> float | None:
    """Share of stored keypoints [T, K, 3] (x, y in shoulder widths, confidence) that pose finds again in the released
    picture within a quarter of a shoulder width; None where nothing was stored with confidence."""
    count = min(len(stored), len(again))
    first, second = stored[:count].astype(np.float64), again[:count].astype(np.float64)
    known = first[..., 2] >= SURE
    if not known.any():
        return None
    near = np.linalg.norm(first[..., :2] - second[..., :2], axis=-1) <= NEAR
    return float((near & (second[..., 2] > 0))[known].mean())
