"""The voice of the generated clips: a glottal pulse train through formants, whose contour carries the prosody."""

from dataclasses import dataclass

import numpy as np

from deemo_dist.samples.people import Subject

RATE = 16_000
SEMITONES = 5.0
FAST, SLOW = 4.5, 2.2
# Formant frequencies and bandwidths in Hz (Peterson and Barney's averages, rounded).
VOWELS = (
    ((730, 80), (1090, 90), (2440, 120), (3400, 180)),
    ((530, 70), (1840, 90), (2480, 120), (3500, 180)),
    ((300, 60), (870, 80), (2240, 120), (3300, 180)),
    ((390, 60), (1990, 90), (2550, 120), (3600, 180)),
)


@dataclass(frozen=True)
class Melody:
    """Per sample: ``pitch`` in Hz, ``level`` 0..1, and weights [vowels, N] that sum to 1."""

    pitch: np.ndarray
    level: np.ndarray
    vowels: np.ndarray


def speak(subject: Subject, prosody: str, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A voiced sound: float32 [seconds * 16000] in [-1, 1].

    ``prosody``: rising or falling by five semitones over each of two phrases about the subject's pitch (so the mean
    pitch says nothing), rising with 4.5 and falling with 2.2 syllables a second; flat: level, with either rate.
    """
    melody = _melody(subject, prosody, round(seconds * RATE), rng)
    source = _glottis(melody.pitch) + rng.normal(0, subject.breath, len(melody.pitch))
    sound = np.zeros_like(source)
    for vowel, weight in zip(VOWELS, melody.vowels, strict=True):
        sound += weight * _vowel(source, vowel, subject.formants)
    sound = sound * melody.level + rng.normal(0, 0.012, len(sound)) * (1 - melody.level)
    sound = sound / max(float(np.sqrt(np.mean(sound**2))), 1e-9) * rng.uniform(0.08, 0.12)
    return np.tanh(sound + rng.normal(0, 0.0015, len(sound))).astype(np.float32)


def _melody(subject: Subject, prosody: str, count: int, rng: np.random.Generator) -> Melody:
    """Contour, loudness and vowels of two phrases with a pause between."""
    change = {"rising": SEMITONES, "falling": -SEMITONES, "flat": 0.0}[prosody]
    pace = {"rising": FAST, "falling": SLOW}.get(prosody) or (FAST if rng.integers(2) else SLOW)
    pace *= subject.tempo**0.5
    semitones, level = np.zeros(count), np.zeros(count)
    vowels = np.zeros((len(VOWELS), count))
    cuts = np.array([0.04, 0.5 + rng.uniform(-0.03, 0.03), 0.96]) * count
    for start, end in ((int(cuts[0]), int(cuts[1] - 0.03 * count)), (int(cuts[1] + 0.03 * count), int(cuts[2]))):
        time = np.arange(end - start) / RATE
        share = np.linspace(-0.5, 0.5, end - start)
        semitones[start:end] = change * share + 0.25 * np.sin(2 * np.pi * 5.2 * time)
        beats = time * pace + rng.uniform(0, 0.2)
        level[start:end] = _syllables(beats) * np.clip(np.minimum(time, time[::-1]) / 0.03, 0, 1)
        vowels[:, start:end] = _vowel_weights(beats, rng)
    pitch = subject.pitch * 2 ** ((semitones + rng.uniform(-0.6, 0.6)) / 12)
    return Melody(pitch=pitch, level=level, vowels=vowels)


def _syllables(beats: np.ndarray) -> np.ndarray:
    """Loudness over ``beats`` (in syllables): a quick rise, a slower fall, near silence between."""
    place = beats % 1.0
    return 0.06 + 0.94 * np.clip(np.minimum(place / 0.18, (1 - place) / 0.34), 0, 1) ** 1.3


def _vowel_weights(beats: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One vowel a syllable, gliding into the next over its last fifth."""
    order = rng.integers(0, len(VOWELS), int(beats[-1]) + 3)
    one_hot = np.eye(len(VOWELS))[order]
    number = beats.astype(int)
    glide = np.clip((beats % 1.0 - 0.8) / 0.2, 0, 1)[:, None]
    return (one_hot[number] * (1 - glide) + one_hot[number + 1] * glide).T


def _glottis(pitch: np.ndarray) -> np.ndarray:
    """Rosenberg pulses (opening 40 %, closing 16 % of a period), differentiated as the lips do."""
    phase = np.cumsum(pitch / RATE) % 1.0
    opening = 0.5 * (1 - np.cos(np.pi * phase / 0.4))
    closing = np.cos(np.pi * np.clip((phase - 0.4) / 0.16, 0, 1) / 2)
    flow = np.where(phase < 0.4, opening, np.where(phase < 0.56, closing, 0.0))
    return np.diff(flow, prepend=0.0) / np.sqrt(pitch / RATE)


def _vowel(source: np.ndarray, vowel: tuple[tuple[int, int], ...], scale: float) -> np.ndarray:
    """``source`` through a cascade of resonators, at unit level."""
    from scipy.signal import lfilter

    sound = source
    for frequency, width in vowel:
        radius = np.exp(-np.pi * width / RATE)
        angle = 2 * np.pi * min(frequency * scale, 7000) / RATE
        poles = [1.0, -2 * radius * np.cos(angle), radius**2]
        sound = lfilter([sum(poles)], poles, sound)
    return sound / max(float(np.sqrt(np.mean(sound**2))), 1e-9)
