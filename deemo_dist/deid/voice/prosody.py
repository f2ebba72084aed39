"""Prosody without a voice: melody, loudness and voicing of the clip, sounded on one fixed spectrum.

Every clip gets the same spectrum and the same mean pitch, so neither the vocal tract nor the level of f0 (a biometric)
is left, and no words: of the sound only how f0 moves, how loud it is, and when it is voiced. Synthesis by WORLD (Morise
et al. 2016; pyworld).
"""

import numpy as np

from deemo_dist.deid.voice import world

REFERENCE_HZ = 150.0
RANGE = 1.5  # octaves about the reference
FFT = 1024
FORMANTS = ((500.0, 120.0), (1500.0, 160.0), (2500.0, 220.0), (3500.0, 300.0))
TILT_DB = -9.0  # an octave, from 500 Hz on
VOICED_NOISE, UNVOICED_NOISE = 0.02, 1.0


def resynthesise(sound: np.ndarray, centre: float) -> np.ndarray:
    """Float64 [N] at 16 kHz to the same length. ``centre``: log2 of the clip's median f0 in Hz, which becomes
    ``REFERENCE_HZ``. Loudness is the caller's to restore: the spectrum has the same level in every frame."""
    import pyworld

    f0 = world.melody(sound)
    voiced = f0 > 0
    moved = np.clip(np.log2(f0, out=np.zeros_like(f0), where=voiced) - centre, -RANGE, RANGE)
    pitch = np.where(voiced, REFERENCE_HZ * 2.0**moved, 0.0)
    envelope = np.tile(_spectrum(), (len(pitch), 1))
    noise = np.tile(np.where(voiced, VOICED_NOISE, UNVOICED_NOISE)[:, None], (1, FFT // 2 + 1))
    made = pyworld.synthesize(pitch, envelope, noise, world.RATE, frame_period=world.PERIOD_MS)
    return np.pad(made, (0, max(0, len(sound) - len(made))))[: len(sound)]


def _spectrum() -> np.ndarray:
    """The one power spectrum: float64 [513]. A neutral vowel with the tilt of a voice; its level is no one's."""
    hertz = np.arange(FFT // 2 + 1) * world.RATE / FFT
    tilt = 10 ** (TILT_DB / 10 * np.log2(np.maximum(hertz, 500.0) / 500.0))
    peaks = sum(1.0 / (1.0 + ((hertz - centre) / width) ** 2) for centre, width in FORMANTS)
    return np.ascontiguousarray(1e-2 * tilt * (0.05 + peaks))
