"""Formants shifted by WORLD (Morise et al. 2016; pyworld): analysis, warped envelope, synthesis at the same f0."""

from dataclasses import dataclass

import numpy as np

RATE = 16_000
PERIOD_MS = 10.0
FLOOR, CEILING = 60.0, 600.0
COARSE = 2
ROWS = 256  # that are warped at once: what it takes on the way is as large as they are


def pitch(sound: np.ndarray) -> np.ndarray:
    """f0 in Hz every 10 ms, 0 where unvoiced: float64 [F], of float64 [N] at 16 kHz. For figures: on a coarser signal
    than synthesis takes it from."""
    return _pitch(np.ascontiguousarray(sound, dtype=np.float64), speed=COARSE)[0]


def melody(sound: np.ndarray) -> np.ndarray:
    """f0 as synthesis takes it, in Hz every 10 ms, 0 where unvoiced: float64 [F]."""
    return _pitch(np.ascontiguousarray(sound, dtype=np.float64))[0]


def _pitch(sound: np.ndarray, speed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    import pyworld

    settings = {"f0_floor": FLOOR, "f0_ceil": CEILING, "frame_period": PERIOD_MS, "speed": speed}
    coarse, times = pyworld.dio(sound, RATE, **settings)
    return pyworld.stonemask(sound, coarse, times, RATE), times


@dataclass(frozen=True)
class Analysis:
    """A sound of ``length`` samples taken apart, every 10 ms: ``f0`` [F] in Hz, power ``envelope`` [F, B], ``noise``
    [F, B] (aperiodicity, 0..1)."""

    f0: np.ndarray
    envelope: np.ndarray
    noise: np.ndarray
    length: int


def analyse(sound: np.ndarray) -> Analysis:
    """Take float64 [N] at 16 kHz apart."""
    import pyworld

    sound = np.ascontiguousarray(sound, dtype=np.float64)
    f0, times = _pitch(sound)
    envelope = pyworld.cheaptrick(sound, f0, times, RATE, f0_floor=FLOOR)
    noise = pyworld.d4c(sound, f0, times, RATE, fft_size=(envelope.shape[1] - 1) * 2)
    return Analysis(f0=f0, envelope=envelope, noise=noise, length=len(sound))


def synthesise(parts: Analysis, warp: float) -> np.ndarray:
    """The sound again, float64 [N], its spectral envelope stretched by ``warp``."""
    import pyworld

    envelope, noise = _warped(parts.envelope, warp), _warped(parts.noise, warp)
    made = pyworld.synthesize(parts.f0, envelope, noise, RATE, frame_period=PERIOD_MS)
    return np.pad(made, (0, max(0, parts.length - len(made))))[: parts.length]


def shift_formants(sound: np.ndarray, warp: float) -> np.ndarray:
    """Stretch the spectral envelope by ``warp`` (above 1: a shorter vocal tract), f0 and timing kept.

    float64 [N] at 16 kHz in and out.
    """
    return synthesise(analyse(sound), warp)


def _warped(rows: np.ndarray, warp: float) -> np.ndarray:
    """Every row read at frequency / warp, linear between bins; beyond the last bin its value holds: [F, B]."""
    bins = rows.shape[1]
    at = np.minimum(np.arange(bins) / warp, bins - 1)
    low = np.minimum(at.astype(np.int64), bins - 2)
    share = at - low
    made = np.empty_like(rows)
    for start in range(0, len(rows), ROWS):
        part = rows[start : start + ROWS]
        made[start : start + ROWS] = part[:, low] * (1 - share) + part[:, low + 1] * share
    return made
