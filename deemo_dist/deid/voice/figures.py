"""What is measured of a voice: f0 and loudness every 10 ms, and how well a disguise kept both."""

import numpy as np

from deemo_dist.deid.voice import world
from deemo_dist.deid.voice.pieces import Piece, pieces
from deemo_dist.media import SOUND_RATE, Sound

RATE = SOUND_RATE
HOP = 160
MOVING = 0.5  # semitones: below it a correlation of f0 says nothing


def loudness(sound: np.ndarray) -> np.ndarray:
    """Root mean square over 40 ms every 10 ms: float64 [ceil(N / 160)]."""
    power = np.concatenate([[0.0], np.cumsum(np.pad(sound.astype(np.float64), (0, HOP)) ** 2)])
    centres = np.arange(-(-len(sound) // HOP)) * HOP + HOP // 2
    low, high = np.clip(centres - 2 * HOP, 0, len(sound)), np.clip(centres + 2 * HOP, 0, len(sound))
    return np.sqrt(np.maximum(power[high] - power[low], 0.0) / np.maximum(high - low, 1))


class Contours:
    """``pitch`` (Hz, 0 where unvoiced) and ``loudness`` of a sound every 10 ms, measured piece by piece: float64
    [ceil(N / 160)]."""

    def __init__(self) -> None:
        self._pitch: list[np.ndarray] = []
        self._loudness: list[np.ndarray] = []

    @classmethod
    def of(cls, sound: Sound) -> "Contours":
        """Those of a whole sound."""
        made = cls()
        for piece in pieces(sound, RATE):
            made.add(piece, sound[piece.start : piece.stop].astype(np.float64))
        return made

    def add(self, piece: Piece, part: np.ndarray) -> None:
        """Measure the next piece: ``part`` float64 [stop - start]."""
        self._pitch.append(kept(piece, world.pitch(part)))
        self._loudness.append(kept(piece, loudness(part)))

    @property
    def pitch(self) -> np.ndarray:
        """f0 in Hz."""
        return np.concatenate(self._pitch)

    @property
    def loudness(self) -> np.ndarray:
        """Root mean squares."""
        return np.concatenate(self._loudness)


def kept(piece: Piece, track: np.ndarray) -> np.ndarray:
    """Those values of a piece's ``track`` (one every 10 ms) that count."""
    first = (piece.keep_from - piece.start) // HOP
    return track[first : first + -(-(piece.keep_to - piece.keep_from) // HOP)]


def compared(original: Contours, shifted: Contours) -> dict[str, float]:
    """How well f0 and loudness were kept: correlations (of f0 only where it moves by half a semitone), the median error
    of f0 in semitones, and the share that was voiced."""
    before, after = original.pitch, shifted.pitch
    voiced = (before > 0) & (after > 0)
    figures = {"voiced_share": float((before > 0).mean()) if len(before) else 0.0}
    contours = [12 * np.log2(track[voiced]) for track in (before, after)]
    if voiced.any():
        moved = [contour - np.median(contour) for contour in contours]  # the level is not kept by every method
        figures["f0_error_semitones"] = float(np.median(np.abs(moved[1] - moved[0])))
    pitch = correlation(*contours) if voiced.any() and _spread(contours[0]) >= MOVING else None
    level = [20 * np.log10(np.maximum(each.loudness, 1e-5)) for each in (original, shifted)]
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
