"""An attacker who recognises voices: the GE2E speaker encoder (Wan et al. 2018, arXiv 1710.10467) of Resemblyzer 0.1.4.

The network is a stack of LSTMs over 1.6 s of 40 mel powers; an utterance's template is the mean over such parts, half
overlapping. Silence is cut out first, by loudness (the original asks a voice detector). Templates stay in memory.
"""

from collections.abc import Sequence

import numpy as np

from deemo_dist.weights import fetch

RATE = 16_000
WINDOW, HOP, MELS = 400, 160, 40
PART, STEP = 160, 80  # frames
FILLED = 0.75  # of the last part, or it is left out
LEVEL = 10 ** (-30 / 20)  # a quieter sound is brought to this root mean square, as in training
QUIET = 10 ** (-40 / 20)  # beside the loud parts: silence
KEEP = 18  # frames of silence that stay on either side of speech
SHORTEST = RATE // 2
NOTHING = np.zeros((0, PART, MELS), dtype=np.float32)


class VoiceReader:
    """The network, loaded once. About 0.03 s a second of speech on one core."""

    name = "GE2E speaker encoder (Resemblyzer 0.1.4)"
    size = 256

    def __init__(self) -> None:
        import torch
        from transformers.audio_utils import mel_filter_bank

        state = torch.load(fetch("speaker-ge2e"), map_location="cpu", weights_only=True)["model_state"]
        self._lstm = torch.nn.LSTM(MELS, self.size, 3, batch_first=True)
        self._linear = torch.nn.Linear(self.size, self.size)
        for name, module in (("lstm.", self._lstm), ("linear.", self._linear)):
            module.load_state_dict(
                {key.removeprefix(name): value for key, value in state.items() if key.startswith(name)}
            )
        self._bank = mel_filter_bank(
            num_frequency_bins=WINDOW // 2 + 1, num_mel_filters=MELS, min_frequency=0.0, max_frequency=RATE / 2,
            sampling_rate=RATE, norm="slaney", mel_scale="slaney",
        )  # fmt: skip

    def __call__(self, sounds: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        """A template of length 1, float32 [256], of each sound (float [N] at 16 kHz), all in one batch; None where less
        than half a second sounds."""
        import torch

        spoken = [speech(sound) for sound in sounds]
        parts = [_parts(self._mels(each), len(each)) if len(each) >= SHORTEST else NOTHING for each in spoken]
        if not any(len(part) for part in parts):
            return [None] * len(sounds)
        with torch.inference_mode():
            _, (hidden, _) = self._lstm(torch.from_numpy(np.concatenate(parts)))
            found = torch.relu(self._linear(hidden[-1])).numpy()
        unit = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)
        ends = np.cumsum([len(part) for part in parts])
        return [_mean(unit[end - len(part) : end]) for end, part in zip(ends, parts, strict=True)]

    def _mels(self, sound: np.ndarray) -> np.ndarray:
        """Mel powers (no logarithm) every 10 ms, float32 [F, 40]."""
        padded = np.pad(sound, WINDOW // 2)
        frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
        power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
        return (power @ self._bank).astype(np.float32)


def speech(sound: np.ndarray) -> np.ndarray:
    """``sound`` (float [N] at 16 kHz) without its long silences, not quieter than the encoder was trained on."""
    count = len(sound) // HOP
    frames = sound[: count * HOP].astype(np.float64).reshape(count, HOP)
    level = np.sqrt((frames**2).mean(axis=1))
    loud = float(np.percentile(level, 95)) if count else 0.0
    if loud <= 0:
        return np.zeros(0)
    near = np.convolve(level > loud * QUIET, np.ones(2 * KEEP + 1), mode="full")[KEEP : KEEP + count] > 0
    kept = frames[near].ravel()
    return kept * max(1.0, LEVEL / max(float(np.sqrt((kept**2).mean())), 1e-9))


def _parts(mels: np.ndarray, samples: int) -> np.ndarray:
    """Half overlapping parts of 1.6 s, the last filled up with silence: float32 [P, 160, 40]."""
    starts = [at for at in range(0, len(mels), STEP) if at == 0 or at + FILLED * PART <= samples / HOP]
    padded = np.pad(mels, ((0, starts[-1] + PART), (0, 0)))
    return np.stack([padded[at : at + PART] for at in starts])


def _mean(unit: np.ndarray) -> np.ndarray | None:
    """The mean of templates [P, 256], of length 1; None without any."""
    if not len(unit):
        return None
    mean = unit.mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9))
