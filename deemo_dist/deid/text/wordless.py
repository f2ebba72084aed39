"""Whether a voice can be saying words at all: words of any language move the spectrum, a held or sung vowel does not.

Whisper's own probability that nobody speaks is no proof: it is high for languages that Whisper does not know. So a
stretch counts as wordless only if its spectrum stands nearly still wherever it is loud, on the whole and in every
half second. Measured over synthetic and real speech in twelve languages and over sung vowels: see the limits below.
"""

from collections.abc import Iterable, Sequence

import numpy as np

STILL = 4.0  # dB on the mean: sung vowels 2.0 to 3.1, speech 4.9 and more
STILL_HALF_SECOND = 5.7  # dB in the worst half second: sung vowels up to 5.1, speech 5.8 and more
STEP = 6  # frames of 10 ms between two spectra that are compared
HALF_SECOND = 50
LOUD, FLOOR = 15.0, 35.0  # dB below the loudest within half a second, and of all
BANDS, GROUP = 64, 4  # of Whisper's 80 mel bands those below 5 kHz, joined so that a rising pitch is no movement
Seconds = tuple[float, float]


def stands_still(features: np.ndarray) -> bool:
    """Whether no words can be in Whisper's features [80, T] (log10 mel, 10 ms a frame, as faster-whisper scales)."""
    level = 40.0 * features[:BANDS]  # dB
    bands = level.reshape(BANDS // GROUP, GROUP, -1).mean(axis=1)
    if bands.shape[1] <= STEP:
        return False
    moved = _moved(bands)
    loud = _loud(10 * np.log10((10 ** (bands / 10)).sum(axis=0)))
    judged = loud[STEP:] & loud[:-STEP] & loud[STEP // 2 : -STEP // 2]
    if judged.sum() < STEP:
        return False
    worst = 0.0
    if len(judged) >= HALF_SECOND:
        box = np.ones(HALF_SECOND)
        count = np.convolve(judged, box, "valid")
        worst = float(np.max(np.convolve(moved * judged, box, "valid") / np.maximum(count, HALF_SECOND / 5)))
    return float(moved[judged].mean()) <= STILL and worst <= STILL_HALF_SECOND


def _moved(bands: np.ndarray) -> np.ndarray:
    """How far the shape of the spectrum [B, T] is from that of ``STEP`` frames before, in dB: [T - STEP]."""
    shape = bands - bands.mean(axis=0)
    return np.asarray(np.sqrt(np.mean((shape[:, STEP:] - shape[:, :-STEP]) ** 2, axis=0)))


def _loud(level: np.ndarray) -> np.ndarray:
    """Frames near the loudest around them: what is quiet for a while is judged by itself."""
    from scipy.ndimage import maximum_filter1d

    around = maximum_filter1d(level, 2 * HALF_SECOND + 1)
    return np.asarray((level > around - LOUD) & (level > level.max() - FLOOR))


def without(spans: Iterable[Seconds], taken: Iterable[Seconds], *, least: float = 0.0) -> list[Seconds]:
    """What of ``spans`` is in none of ``taken``, pieces shorter than ``least`` seconds left out."""
    found = []
    holes: Sequence[Seconds] = sorted(taken)
    for start, end in spans:
        at = start
        for first, last in holes:
            if last > at and first < end:
                found.append((at, first))
                at = max(at, last)
        found.append((at, end))
    return [(start, end) for start, end in found if end - start > least]
