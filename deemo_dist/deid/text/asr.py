"""Hearing words: where there is speech, what is said, and when.

Two gates keep Whisper from making up words where nobody speaks: a voice detector (Silero, which faster-whisper ships),
and, where the spectrum stands still (``wordless``), Whisper's own probability that a stretch holds no speech. What is
quiet is heard amplified (``gain``). A voice that may say words which Whisper does not make out is *garbled*: a cry, or
another language, which Whisper tells, or else doubts as it goes along; asked for English it would translate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from deemo_dist.deid.text.gain import Lifted
from deemo_dist.deid.text.second import SecondEar
from deemo_dist.deid.text.whisper import WHOLE, Whisper, repeats
from deemo_dist.deid.text.wordless import stands_still, without
from deemo_dist.deid.waveform import at_sound_rate, check_finite
from deemo_dist.media import Sound

RATE = 16_000
LONGEST = 28.0  # seconds heard at once: Whisper knows 30
PAUSE = 1.0
SLACK = 2.0
LEAST_SPEECH = 0.06
NO_WORDS = 0.05  # probability: hums have .08 to .4
TELLING = 1.5  # seconds of voice
NO_WORDS_IN_SHORT = 0.3
ENGLISH, ENGLISH_IF_SHORT = 0.7, 0.5  # probability: nearly all English sentences have .8 and more
HALF_SURE = 0.5  # of words' probabilities: English has .6 to 1 on the (geometric) mean, other languages mostly less
MANY, FEW_KINDS = 8, 0.4
AROUND_WORDS, UNHEARD = 0.15, 0.3  # seconds
WINDOW, BEFORE = 512, 64  # samples that the voice detector sees at once, and of those before them
AT_ONCE = 1000  # windows: the same probabilities as for any other number, in 20 MB


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


@dataclass(frozen=True)
class _Stretch:
    """What was heard from ``start`` to ``end`` seconds: as in ``Heard``."""

    start: float
    end: float
    words: tuple[HeardWord, ...] = ()
    garbled: tuple[tuple[float, float], ...] = ()
    wordless: tuple[tuple[float, float], ...] = ()


class Listener:
    """Loads the voice detector (50 ms), and Whisper and the second ear when the first word is to be heard (0.6 s)."""

    def __init__(self) -> None:
        from faster_whisper.vad import get_vad_model

        self._detector = get_vad_model()
        self._whisper: Whisper | None = None
        self._second: SecondEar | None = None

    def __call__(self, heard: Sound, rate: int, *, sparing: bool = False) -> Heard:
        """The words in ``heard`` (mono, at ``rate`` Hz); at 16 kHz it is read in parts. ``sparing``: Whisper is let go
        of before the second ear is loaded.

        Raises ``DeidError`` (stage transcript) for another shape or values that are not finite.
        """
        sound = Lifted(at_sound_rate(heard, rate, stage="transcript"))
        probabilities = self._probabilities(sound)
        speech = spans_of(probabilities)
        stretches = [self._hear(sound, *window, speech) for window in windows_of(speech, probabilities)]
        if sparing:
            self._whisper = None
        words = [word for each in stretches for word in each.words]
        wordless = [span for each in stretches for span in each.wordless]
        garbled = [span for each in stretches for span in each.garbled]
        known = [(word.start - AROUND_WORDS, word.end + AROUND_WORDS) for word in words]
        garbled += without(speech, [*known, *garbled, *wordless], least=UNHEARD)
        again = self._once_more(sound, stretches)
        return Heard(tuple(words), tuple(speech), tuple(sorted(garbled)), tuple(wordless), again)

    def rest(self) -> None:
        """Let go of Whisper (150 MB) and the second ear (60 MB) until the next word is to be heard."""
        self._whisper = self._second = None

    def _hear(self, sound: Lifted, start: float, end: float, speech: Sequence[tuple[float, float]]) -> _Stretch:
        """One stretch by Whisper. One without words, or in another language, is not written down."""
        piece = sound[round(start * RATE) : round(end * RATE)]
        active = sum(min(end, b) - max(start, a) for a, b in speech if a < end and b > start)
        features = self._ear.features(piece)
        if self._says_nothing(features, active):
            return _Stretch(start, end, wordless=((start, end),))
        if not self._is_english(features, active):
            return _Stretch(start, end, garbled=((start, end),))
        words: list[HeardWord] = []
        garbled, wordless = [], []
        for segment in self._ear.write(piece):
            span = (start + max(0.0, float(segment.start)), min(end, start + float(segment.end)))
            part = sound[round(span[0] * RATE) : round(span[1] * RATE)]
            if self._says_nothing(self._ear.features(part), active):
                wordless.append(span)
            elif _is_garbled(segment):
                garbled.append(span)
            else:
                words += [_word(word, start, end) for word in segment.words or () if word.word.strip()]
        return _Stretch(start, end, tuple(words), tuple(garbled), tuple(wordless))

    def _once_more(self, sound: Lifted, stretches: Sequence[_Stretch]) -> tuple[Again, ...]:
        """What the second ear makes of the stretches with words."""
        again, first = [], 0
        for each in stretches:
            if each.words:
                self._second = self._second or SecondEar()
                text = self._second(sound[round(each.start * RATE) : round(each.end * RATE)])
                again.append(Again(first, first + len(each.words), text))
                first += len(each.words)
        return tuple(again)

    @property
    def _ear(self) -> Whisper:
        if self._whisper is None:
            self._whisper = Whisper()
        return self._whisper

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

    def _is_english(self, features: np.ndarray, active: float) -> bool:
        """Whether a stretch is in English; a short one, which may seem anything, is judged in the length that Whisper
        has learned from. ``active``: seconds of voice."""
        if self._ear.english(features) >= ENGLISH:
            return True
        return active < TELLING and self._ear.english(features, spare=WHOLE) >= ENGLISH_IF_SHORT

    def _says_nothing(self, features: np.ndarray, active: float) -> bool:
        """Whether a stretch holds a voice without words, such as humming; a short call ("Anna!") needs to be surer.
        ``active``: seconds of voice."""
        least = NO_WORDS if active >= TELLING else NO_WORDS_IN_SHORT
        return stands_still(features) and self._ear.no_words(features) >= least


def _is_garbled(segment: Any) -> bool:
    """Whether no word of a segment can be trusted: it repeats itself, or Whisper doubts it as a whole."""
    words = [word for word in segment.words or () if word.word.strip()]
    sure = np.array([max(1e-6, word.probability) for word in words])
    kinds = len({word.word.strip().lower() for word in words})
    return (
        repeats(segment)
        or len(words) == 0
        or float(np.exp(np.log(sure).mean())) < HALF_SURE
        or float(np.mean(sure < HALF_SURE)) >= 0.5
        or (len(words) >= MANY and kinds < FEW_KINDS * len(words))
    )


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
