"""Formants shifted by the McAdams coefficient (Patino et al. 2021, arXiv 2011.01130), all frames at once.

LPC of order 20 over 20 ms every 10 ms; the angle of each complex pole is raised to the coefficient; the residual is
filtered by the new poles. Unlike the reference code the first frame is not skipped, conjugates are found by their sign
rather than by adjacency, and loudness is left alone.
"""

import numpy as np

ORDER = 20
WINDOW = 320
HOP = 160
REAL = 1e-6
LARGEST_RADIUS = 0.995


def shift_poles(sound: np.ndarray, coefficient: float) -> np.ndarray:
    """Float64 [N] at 16 kHz to the same length; ``coefficient`` 1 gives the sound back."""
    frames = _frames(sound)
    filters = lpc(frames)
    residual = _filtered(frames, filters)
    shifted = _resynthesised(residual, moved(filters, coefficient))
    return _overlapped(shifted, len(sound))


def _window() -> np.ndarray:
    """Square root of a periodic Hann window: applied twice, frames add up to one."""
    return np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW))


def _frames(sound: np.ndarray) -> np.ndarray:
    """Windowed frames [F, 320], padded so that each sample lies in two."""
    count = -(-len(sound) // HOP) + 1
    padded = np.zeros((count + 1) * HOP)
    padded[HOP : HOP + len(sound)] = sound
    return np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:count] * _window()


def _overlapped(frames: np.ndarray, length: int) -> np.ndarray:
    """The inverse of ``_frames``."""
    windowed = frames * _window()
    result = np.zeros((len(frames) + 1, HOP))
    result[:-1] += windowed[:, :HOP]
    result[1:] += windowed[:, HOP:]
    return result.reshape(-1)[HOP : HOP + length]


def lpc(frames: np.ndarray) -> np.ndarray:
    """Prediction error filters [F, 21] (first coefficient 1) by Levinson and Durbin, all frames at once.

    A little white noise (-90 dB) keeps the recursion stable; a silent frame gets the filter 1.
    """
    spectrum = np.fft.rfft(frames, 2 * WINDOW)
    auto = np.fft.irfft(np.abs(spectrum) ** 2)[:, : ORDER + 1]
    error = auto[:, 0] * (1 + 1e-9) + 1e-12
    filters = np.zeros((len(frames), ORDER + 1))
    filters[:, 0] = 1.0
    for order in range(1, ORDER + 1):
        reflection = -np.einsum("fk,fk->f", filters[:, :order], auto[:, order:0:-1]) / error
        filters[:, 1 : order + 1] += reflection[:, None] * filters[:, order - 1 :: -1][:, :order]
        error = error * (1 - reflection**2)
    return filters


def moved(filters: np.ndarray, coefficient: float) -> np.ndarray:
    """Filters [F, 21] whose complex poles have their angle raised to ``coefficient``; real poles stay."""
    companion = np.zeros((len(filters), ORDER, ORDER))
    companion[:, np.arange(1, ORDER), np.arange(ORDER - 1)] = 1.0
    companion[:, 0] = -filters[:, 1:]
    poles = np.linalg.eigvals(companion)
    angle = np.angle(poles)
    turned = np.where(np.abs(poles.imag) > REAL, np.sign(angle) * np.abs(angle) ** coefficient, angle)
    radius = np.minimum(np.abs(poles), LARGEST_RADIUS)
    return _polynomials(radius * np.exp(1j * np.clip(turned, -np.pi, np.pi)))


def _polynomials(roots: np.ndarray) -> np.ndarray:
    """Monic real polynomials [F, P + 1] with the given roots [F, P], which come in conjugate pairs."""
    result = np.zeros((len(roots), roots.shape[1] + 1), dtype=np.complex128)
    result[:, 0] = 1.0
    for place in range(roots.shape[1]):
        result[:, 1 : place + 2] -= roots[:, place, None] * result[:, : place + 1]
    return result.real


def _filtered(frames: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Each frame through its own error filter: the residual [F, 320]."""
    padded = np.pad(frames, ((0, 0), (ORDER, 0)))
    result = np.zeros_like(frames)
    for lag in range(ORDER + 1):
        result += filters[:, lag, None] * padded[:, ORDER - lag : ORDER - lag + WINDOW]
    return result


def _resynthesised(residual: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Each residual through its own all-pole filter [F, 320]: sample by sample, all frames at once."""
    past = np.zeros((WINDOW + ORDER, len(residual)))
    backwards = np.ascontiguousarray(filters[:, :0:-1].T)
    for time in range(WINDOW):
        past[time + ORDER] = residual[:, time] - np.einsum("kf,kf->f", backwards, past[time : time + ORDER])
    return past[ORDER:].T
