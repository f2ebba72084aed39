"""Whisper base through faster-whisper, offline: the words of a stretch of speech, whether it is English, whether there
are words at all (Radford et al. 2022, arXiv 2212.04356).

One thread and temperature 0 throughout: the same sound gives the same words.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from deemo_dist.deid.runtime import THREADS
from deemo_dist.weights import fetch

FRAME = 160  # samples of one frame, 10 ms at 16 kHz
AROUND = 400  # frames of nothing behind a stretch: with a quarter of it more is said twice, and less told for English
WHOLE = 3000  # frames that Whisper has learned from
REPEATED = 2.4  # compression ratio
TIMELESS = 0.01  # seconds
BEAM = 5
PRECISION = "int8"
LANGUAGE = "en"


class Whisper:
    """Loads when it is made (half a second, 150 MB)."""

    def __init__(self) -> None:
        from faster_whisper import WhisperModel
        from faster_whisper.tokenizer import Tokenizer

        self._model = WhisperModel(
            str(fetch("whisper-base")), device="cpu", compute_type=PRECISION, cpu_threads=THREADS
        )
        self._prompt = Tokenizer(self._model.hf_tokenizer, True, task="transcribe", language=LANGUAGE).sot_sequence
        self._encode = self._model.encode
        self._model.encode = self._encode_short
        self._spare = AROUND
        self._last: tuple[np.ndarray, int, Any] | None = None

    def features(self, piece: np.ndarray) -> np.ndarray:
        """Of samples [N] at 16 kHz: float32 [80, N // 160], log10 mel as faster-whisper scales it."""
        made: np.ndarray = self._model.feature_extractor(piece)
        return made[:, : len(piece) // FRAME]

    def english(self, features: np.ndarray, *, spare: int = AROUND) -> float:
        """How likely English is, of all languages, with so many frames of nothing behind the stretch."""
        self._spare = spare
        (shares,) = self._model.model.detect_language(self._encode_short(features))
        return float(dict(shares)[f"<|{LANGUAGE}|>"])

    def no_words(self, features: np.ndarray) -> float:
        """How likely it is that the stretch holds no speech; 0 where it sounds English."""
        if self.english(features) >= 0.5:
            return 0.0
        (result,) = self._model.model.generate(
            self._encode_short(features),
            [self._prompt],
            beam_size=1,
            return_no_speech_prob=True,
            max_length=len(self._prompt) + 1,
        )
        return float(result.no_speech_prob)

    def write(self, piece: np.ndarray) -> Sequence[Any]:
        """faster-whisper's segments of samples [N] at 16 kHz, their words with times; where it repeats itself, what it
        makes of them within 30 s of silence."""
        found: list[Any] = []
        for self._spare in (AROUND, WHOLE):
            segments, _ = self._model.transcribe(
                piece,
                language=LANGUAGE,
                beam_size=BEAM,
                temperature=0.0,
                word_timestamps=True,
                condition_on_previous_text=False,
            )
            found = list(segments)
            if not any(map(repeats, found)):
                break
        return found

    def _encode_short(self, features: np.ndarray) -> Any:
        """Encode the features [80, T] with some seconds of nothing behind them. faster-whisper pads all to 30 s, which
        costs eight times as much and hears no better (measured over synthetic speech). The last result is kept: each
        question about a stretch begins with it."""
        used = np.flatnonzero(np.abs(features).sum(axis=0))
        features = features[:, : int(used[-1]) + 1 if len(used) else 1]
        if self._last is None or self._spare != self._last[1] or not np.array_equal(features, self._last[0]):
            padded = np.pad(features, ((0, 0), (0, WHOLE)))[:, : min(WHOLE, features.shape[1] + self._spare)]
            self._last = (features, self._spare, self._encode(padded))
        return self._last[2]


def repeats(segment: Any) -> bool:
    """Whether Whisper goes on where there is nothing left: in circles, or with words that take no time."""
    words = segment.words or ()
    return segment.compression_ratio > REPEATED or sum(word.end - word.start < TIMELESS for word in words) > 1
