"""Hearing words: where there is speech, what is said, and when. Whisper tiny.en through faster-whisper, offline.

One thread, temperature 0 and no second tries: the same sound gives the same words. Two gates keep it from making up
words where nobody speaks: a voice detector (Silero, which faster-whisper ships), and, where the spectrum stands still
(``wordless``), Whisper's own probability that a stretch holds no speech, read from a short encoding that costs a tenth
of hearing. What is quiet is heard amplified (``gain``). A voice that may say words which Whisper does not make out
(another language, a cry) is *garbled*.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from deemo_dist.deid.runtime import THREADS
from deemo_dist.deid.text.gain import Lifted
from deemo_dist.deid.text.second import SecondEar
from deemo_dist.deid.text.wordless import stands_still, without
from deemo_dist.deid.waveform import at_sound_rate, check_finite
from deemo_dist.media import Sound
from deemo_dist.weights import fetch

RATE = 16_000
FRAME = 160  # samples of one Whisper frame
LONGEST = 28.0  # seconds heard at once: Whisper knows 30
PAUSE = 1.0
SLACK = 2.0
LEAST_SPEECH = 0.06
SHORT_ENOUGH = 8.0  # a longer stretch is heard whole, where the probability comes for nothing
NO_WORDS = 0.4
TELLING = 1.5
NO_WORDS_IN_SHORT = 0.9
REPEATED = 2.4
HALF_SURE = 0.5  # of words' probabilities: English has .6 to 1 on the (geometric) mean, other languages mostly less
MANY, FEW_KINDS = 8, 0.4
AROUND_WORDS, UNHEARD = 0.15, 0.3  # seconds
AROUND, WHOLE = 100, 3000  # Whisper frames of 10 ms
WINDOW, BEFORE = 512, 64  # samples that the voice detector sees at once, and of those before them
AT_ONCE = 1000  # windows: the same probabilities as for any other number, in 20 MB
BEAM = 5
PRECISION = "int8"


@dataclass(frozen=True)
class HeardWord:
    """One word as heard, from ``start`` to ``end`` in seconds of the clip; ``probability`` is Whisper's own."""

    text: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True)
class Again:
    """``text``: what the second ear wrote where words ``first`` up to ``last`` were heard."""

    first: int
    last: int
    text: str


@dataclass(frozen=True)
class Heard:
    """``words`` in order; ``speech``: (start, end) seconds with a voice; ``garbled``: those of them that may hold
    words which nobody made out: Whisper repeated itself, doubted most of what it heard, or heard nothing;
    ``wordless``: those whose voice says no words for certain; ``again``: the words as a second ear has them."""

    words: tuple[HeardWord, ...]
    speech: tuple[tuple[float, float], ...]
    garbled: tuple[tuple[float, float], ...] = ()
    wordless: tuple[tuple[float, float], ...] = ()
    again: tuple[Again, ...] = ()

    @property
    def text(self) -> str:
        """The words joined by single spaces."""
        return " ".join(word.text for word in self.words)

    def spans(self) -> dict[str, tuple[tuple[float, float], ...]]:
        """The kinds of stretches by the names that figures have."""
        return {"speech_seconds": self.speech, "garbled_seconds": self.garbled, "wordless_seconds": self.wordless}


class Listener:
    """Loads the voice detector (50 ms), and Whisper and the second ear when the first word is to be heard (0.4 s)."""

    def __init__(self) -> None:
        from faster_whisper.vad import get_vad_model

        self._detector = get_vad_model()
        self._whisper: Any = None
        self._second: SecondEar | None = None
        self._encode: Any = None
        self._tokenizer: Any = None
        self._spare = AROUND

    def __call__(self, heard: Sound, rate: int) -> Heard:
        """The words in ``heard`` (mono, at ``rate`` Hz); at 16 kHz it is read in parts.

        Raises ``DeidError`` (stage transcript) for another shape or values that are not finite.
        """
        sound = Lifted(at_sound_rate(heard, rate, stage="transcript"))
        probabilities = self._probabilities(sound)
        speech = spans_of(probabilities)
        words: list[HeardWord] = []
        garbled, wordless, again = [], [], []
        for start, end in windows_of(speech, probabilities):
            self._spare = AROUND
            piece = sound[round(start * RATE) : round(end * RATE)]
            active = sum(min(end, b) - max(start, a) for a, b in speech if a < end and b > start)
            if self._says_nothing(piece, active):
                wordless.append((start, end))
                continue
            first = len(words)
            for segment in self._segments(piece):
                span = (start + max(0.0, float(segment.start)), min(end, start + float(segment.end)))
                if self._is_wordless(sound[round(span[0] * RATE) : round(span[1] * RATE)], segment, active):
                    wordless.append(span)
                elif _is_garbled(segment, active):
                    garbled.append(span)
                else:
                    words += [_word(word, start, end) for word in segment.words or () if word.word.strip()]
            if len(words) > first:
                again.append(Again(first, len(words), self._once_more(piece)))
        known = [(word.start - AROUND_WORDS, word.end + AROUND_WORDS) for word in words]
        garbled += without(speech, [*known, *garbled, *wordless], least=UNHEARD)
        return Heard(tuple(words), tuple(speech), tuple(sorted(garbled)), tuple(wordless), tuple(again))

    def rest(self) -> None:
        """Let go of Whisper (90 MB) and the second ear (60 MB) until the next word is to be heard."""
        self._whisper = self._encode = self._tokenizer = self._second = None

    def _probabilities(self, sound: Sound) -> np.ndarray:
        """Of speech, for every 512 samples: float32 [ceil(N / 512)]. As faster-whisper has it, which wants the sound
        whole, the last 64 samples (padding included) count as silence."""
        made, state, before = [np.zeros(0, np.float32)], np.zeros((2, 1, 1, 128), np.float32), np.zeros(BEFORE)
        for start in range(0, len(sound), AT_ONCE * WINDOW):
            part = sound[start : start + AT_ONCE * WINDOW]
            check_finite(part, stage="transcript")
            windows = np.pad(part, (0, -len(part) % WINDOW)).astype(np.float32, copy=False).reshape(-1, WINDOW)
            if start + len(part) == len(sound):
                windows[-1, -BEFORE:] = 0
            tails = windows[:, -BEFORE:]
            inputs = np.concatenate([np.vstack([before, tails[:-1]]).astype(np.float32), windows], axis=1)
            found, *state = self._detector.session.run(None, {"input": inputs, "h": state[0], "c": state[1]})
            made.append(np.asarray(found, dtype=np.float32).reshape(-1))
            before = tails[-1]
        return np.concatenate(made)

    def _says_nothing(self, piece: np.ndarray, active: float) -> bool:
        """Whether a short stretch holds a voice without words, such as humming. ``active``: its seconds of voice."""
        if len(piece) > SHORT_ENOUGH * RATE:
            return False
        whisper = self._model()
        features = whisper.feature_extractor(piece)[:, : len(piece) // FRAME]
        if not stands_still(features):
            return False
        prompt = self._tokenizer.sot_sequence
        (result,) = whisper.model.generate(
            whisper.encode(features), [prompt], beam_size=1, return_no_speech_prob=True, max_length=len(prompt) + 1
        )
        return _sounds_wordless(result.no_speech_prob, active)

    def _is_wordless(self, piece: np.ndarray, segment: Any, active: float) -> bool:
        """The same of a stretch that was heard whole."""
        if not _sounds_wordless(segment.no_speech_prob, active):
            return False
        return stands_still(self._model().feature_extractor(piece)[:, : len(piece) // FRAME])

    def _segments(self, piece: np.ndarray) -> Sequence[Any]:
        """What Whisper makes of a stretch; where it repeats itself, what it makes of it within 30 s of silence."""
        for self._spare in (AROUND, WHOLE):
            segments, _ = self._model().transcribe(
                piece,
                language="en",
                beam_size=BEAM,
                temperature=0.0,
                word_timestamps=True,
                condition_on_previous_text=False,
            )
            found = list(segments)
            if all(segment.compression_ratio <= REPEATED for segment in found):
                break
        return found

    def _once_more(self, piece: np.ndarray) -> str:
        if self._second is None:
            self._second = SecondEar()
        return self._second(piece)

    def _model(self) -> Any:
        if self._whisper is None:
            from faster_whisper import WhisperModel
            from faster_whisper.tokenizer import Tokenizer

            whisper = WhisperModel(
                str(fetch("whisper-tiny")), device="cpu", compute_type=PRECISION, cpu_threads=THREADS
            )
            self._encode = whisper.encode
            whisper.encode = self._encode_short
            self._tokenizer = Tokenizer(whisper.hf_tokenizer, False, task="transcribe", language="en")
            self._whisper = whisper
        return self._whisper

    def _encode_short(self, features: np.ndarray) -> Any:
        """Encode the features [80, T] with a second of nothing behind them. faster-whisper pads all to 30 s, which
        costs four times as much and hears no better (measured over synthetic speech)."""
        used = np.flatnonzero(np.abs(features).sum(axis=0))
        length = int(used[-1]) + 1 if len(used) else 1
        padded = np.pad(features[:, :length], ((0, 0), (0, WHOLE)))
        return self._encode(padded[:, : min(WHOLE, length + self._spare)])


def _is_garbled(segment: Any, active: float) -> bool:
    """Whether no word of a segment can be trusted: it repeats itself, or Whisper doubts it as a whole."""
    words = [word for word in segment.words or () if word.word.strip()]
    sure = np.array([max(1e-6, word.probability) for word in words])
    kinds = len({word.word.strip().lower() for word in words})
    return (
        segment.compression_ratio > REPEATED
        or len(words) == 0
        or float(np.exp(np.log(sure).mean())) < HALF_SURE
        or float(np.mean(sure < HALF_SURE)) >= 0.5
        or _sounds_wordless(segment.no_speech_prob, active)
        or (len(words) >= MANY and kinds < FEW_KINDS * len(words))
    )


def _sounds_wordless(no_speech: float, active: float) -> bool:
    """A voice that goes on and that Whisper takes for none; a short call ("Anna!") needs to be surer."""
    return no_speech >= (NO_WORDS if active >= TELLING else NO_WORDS_IN_SHORT)


def _word(word: Any, start: float, end: float) -> HeardWord:
    first, last = (float(np.clip(start + time, start, end)) for time in (word.start, word.end))
    return HeardWord(text=word.word.strip(), start=first, end=max(first, last), probability=float(word.probability))


def spans_of(probabilities: np.ndarray, *, hop: float = 512 / RATE, pad: float = 0.2) -> list[tuple[float, float]]:
    """Stretches of speech in seconds: begun at .5, kept above .35, joined where ``pad`` makes them touch.

    ``probabilities``: float [N], one every ``hop`` seconds.
    """
    spans: list[tuple[float, float]] = []
    start: int | None = None
    for number, value in enumerate([*probabilities.tolist(), 0.0]):
        if start is None and value >= 0.5:
            start = number
        elif start is not None and value < 0.35:
            if (number - start) * hop >= LEAST_SPEECH:
                spans.append((start * hop, number * hop))
            start = None
    padded: list[tuple[float, float]] = []
    for first, last in spans:
        first, last = max(0.0, first - pad), min(len(probabilities) * hop, last + pad)
        if padded and first <= padded[-1][1]:
            padded[-1] = (padded[-1][0], last)
        else:
            padded.append((first, last))
    return padded


def windows_of(
    speech: Sequence[tuple[float, float]], probabilities: np.ndarray | None = None, *, hop: float = 512 / RATE
) -> list[tuple[float, float]]:
    """Stretches to be heard at once: neighbours within a second together, nothing longer than 28 s.

    A longer one is cut where within 2 s of an even cut the voice is least likely, so that words stay whole
    (``probabilities`` as for ``spans_of``).
    """
    windows: list[tuple[float, float]] = []
    for start, end in speech:
        pieces = max(1, int(np.ceil((end - start) / (LONGEST - 2 * SLACK)))) if end - start > LONGEST else 1
        even = [start + (end - start) * number / pieces for number in range(1, pieces)]
        cuts = [start, *(_quietest(cut, probabilities, hop) for cut in even), end]
        for first, last in pairwise(cuts):
            near = windows and first - windows[-1][1] <= PAUSE and last - windows[-1][0] <= LONGEST
            if near:
                windows[-1] = (windows[-1][0], last)
            else:
                windows.append((first, last))
    return windows


def _quietest(cut: float, probabilities: np.ndarray | None, hop: float) -> float:
    if probabilities is None:
        return cut
    low, high = (int(np.clip((cut + side) / hop, 0, len(probabilities))) for side in (-SLACK, SLACK))
    return (low + int(np.argmin(probabilities[low:high]))) * hop + hop / 2 if high > low else cut
