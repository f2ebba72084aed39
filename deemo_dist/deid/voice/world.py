"""Formants shifted by WORLD (Morise et al. 2016; pyworld): analysis, warped envelope, synthesis at the same f0."""

import numpy as np

RATE = 16_000
PERIOD_MS = 10.0
FLOOR, CEILING = 60.0, 600.0
COARSE = 2


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


def shift_formants(sound: np.ndarray, warp: float) -> np.ndarray:
    """Stretch the spectral envelope by ``warp`` (above 1: a shorter vocal tract), f0 and timing kept.

    float64 [N] at 16 kHz in and out.
    """
    import pyworld

    sound = np.ascontiguousarray(sound, dtype=np.float64)
    f0, times = _pitch(sound)
    envelope = pyworld.cheaptrick(sound, f0, times, RATE, f0_floor=FLOOR)
    noise = pyworld.d4c(sound, f0, times, RATE, fft_size=(envelope.shape[1] - 1) * 2)
    made = pyworld.synthesize(f0, _warped(envelope, warp), _warped(noise, warp), RATE, frame_period=PERIOD_MS)
    return np.pad(made, (0, max(0, len(sound) - len(made))))[: len(sound)]


def _warped(rows: np.ndarray, warp: float) -> np.ndarray:
    """Every row read at frequency / warp, linear between bins; beyond the last bin its value holds: [F, B]."""
    bins = rows.shape[1]
    at = np.minimum(np.arange(bins) / warp, bins - 1)
    low = np.minimum(at.astype(np.int64), bins - 2)
    share = at - low
    return np.ascontiguousarray(rows[:, low] * (1 - share) + rows[:, low + 1] * share)
