"""The words of a clip, written and spoken: scrubbed where they are written, located where they are spoken.

Wherever words stay audible the sound is listened to. What is to be muted comes from both sides: mentions in the given
transcript are laid against the words heard, and the words heard are searched themselves, for a name may be spoken that
nobody wrote down. A mention that cannot be located mutes the gap it must be in; where the transcript and what was heard
do not agree, or nothing was heard, all speech that may hold it. Words that Whisper was unsure of, or in whose place a
second ear heard a name, are muted where no transcript has them: they may be names that Whisper does not know; so is
speech that it could not make out at all. Where no transcript came, the words heard become it.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from deemo_dist.config import PolicyConfig
from deemo_dist.console import logger
from deemo_dist.deid.text.agree import compared
from deemo_dist.deid.text.align import locate, unmatched
from deemo_dist.deid.text.asr import Heard, HeardWord, Listener
from deemo_dist.deid.text.doubt import doubtful
from deemo_dist.deid.text.gazetteer import read_words
from deemo_dist.deid.text.known import composed
from deemo_dist.deid.text.letters import can_be_read
from deemo_dist.deid.text.transcript import UNSURE, Scrubber, Span, forget_lists, merged, replace_all
from deemo_dist.deid.text.wordless import without
from deemo_dist.errors import DeidError
from deemo_dist.media import Sound

WORDLESS_VOICES = ("prosody", "drop")
AGREES = 1 / 3  # of a transcript's words are heard, or it is not what is spoken
TAKEN_OUT = re.compile(
    r"[\[<{]\s*(?:(?:redacted|removed|anonymi[sz]ed)\s*[:–-]\s*)?(?P<tag>[A-Za-z]+(?:[ _-][A-Za-z]+){0,2})"
    r"(?:[ _-]?\d{1,6})?(?:\s*(?:and|&)\s*[A-Za-z]+(?:[ _-]?\d{1,6})?){0,4}\s*[\]>}]|[█▇▆■▮▓▒░]{2,}"
    r"|\(\s*[A-Z]{4,}(?:[ _-]?\d{1,6})?\s*\)|\b(?:X{3,}|x{3,})\b|\*{3,}|_{3,}"
)
NOISES = read_words("noises")
NOTHING = Heard((), ())
UNREADABLE = "words: texts that are mostly not in Latin letters are left out, for names in them cannot be told"
Seconds = tuple[float, float]
Doubt = Callable[[Iterable[int]], set[int]]


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """``transcript`` and ``texts`` scrubbed; ``entities``: mentions replaced; ``mutes``: (start, end) seconds to be
    silenced, ascending, none overlapping; ``source``: where the transcript came from; ``figures``: what was counted."""

    transcript: str | None
    texts: dict[str, str]
    entities: int
    mutes: tuple[Seconds, ...]
    source: Literal["given", "asr", "none"]
    figures: dict[str, float] = field(default_factory=dict)


class Words:
    """Loads the scrubber and the ear once, and again after a :meth:`rest`; Whisper only when a clip has words to be
    heard. ``sparing``: the ears are let go of before texts are read, so that both are never there at once."""

    def __init__(self, policy: PolicyConfig) -> None:
        self._policy = policy
        self._loaded: Scrubber | None = Scrubber(threshold=policy.pii_threshold)
        self.sparing = False
        self._listen = Listener()
        self._told = False

    def __call__(
        self,
        transcript: str | None,
        texts: Mapping[str, str],
        known: Iterable[str],
        sound: Sound | None,
        rate: int,
    ) -> Spoken:
        """Scrub a clip's words and say what of its sound must be silent.

        ``sound``: mono, at ``rate`` Hz, None where there is none. ``known``: raw names to be removed wherever
        they stand (the subject's). Raises ``DeidError`` (stage transcript; uncertain where the policy rejects what is
        uncertain and a mention cannot be placed, or a text cannot be checked).
        """
        whole = {name: composed(text) for name, text in texts.items()}
        texts = {name: text for name, text in whole.items() if can_be_read(text)}
        strange = transcript is not None and not can_be_read(transcript)
        left_out = self._left_out(strange + len(whole) - len(texts))
        transcript = None if transcript is None or strange else composed(transcript)
        given = transcript if transcript and transcript.strip() else None
        names, others = list(known), list(texts.values())
        heard = self._hear(given, sound, rate)
        if self.sparing:
            self._listen.rest()
        written, spoken, *rest = self._scrubber.find([given or "", heard.text, *others], names)
        mentions = [*written, *_placeholders(given or "")]
        doubt = self._doubt(heard, spoken, [given or "", *others], names)
        said, source, spans = transcript, "none" if given is None else "given", written
        if given is None and heard.words and self._policy.asr == "missing" and not strange:
            said, source, spans = heard.text, "asr", merged([*spoken, *_unsure(heard, spoken, doubt)])
        seconds = 0.0 if sound is None else len(sound) / rate
        mutes = self._mutes(given or "", mentions, heard, spoken, doubt, seconds) if self._cuts(sound) else ()
        return self._spoken(said, texts, [spans, *rest], mutes, source, _figures(heard, mutes) | left_out)

    def _left_out(self, count: int) -> dict[str, float]:
        """The figure of texts that cannot be checked, none where there are none; the first ones are logged.

        Raises ``DeidError`` (uncertain) where the policy rejects instead.
        """
        if not count:
            return {}
        if self._policy.uncertain == "reject":
            raise DeidError(
                "a text is not in Latin letters: names in it cannot be told", stage="transcript", reason="uncertain"
            )
        if not self._told:
            logger.warning(UNREADABLE)
            self._told = True
        return {"unreadable_texts": float(count)}

    def rest(self) -> None:
        """Let go of what only words need (some 140 MB) until the next clip has some (a second)."""
        self._listen.rest()
        self._loaded = None
        forget_lists()

    @property
    def _scrubber(self) -> Scrubber:
        if self._loaded is None:
            self._loaded = Scrubber(threshold=self._policy.pii_threshold)
        return self._loaded

    def _spoken(
        self,
        said: str | None,
        texts: Mapping[str, str],
        spans: Sequence[list[Span]],
        mutes: tuple[Seconds, ...],
        source: str,
        figures: dict[str, float],
    ) -> Spoken:
        """The result; a transcript that the policy drops leaves its mutes, but neither words nor numbers."""
        dropped = said is None or self._policy.transcript == "drop"
        done = replace_all(["" if dropped else said or "", *texts.values()], [[] if dropped else spans[0], *spans[1:]])
        return Spoken(
            transcript=None if dropped else done[0],
            texts=dict(zip(texts, done[1:], strict=True)),
            entities=sum(kind != UNSURE for rows in (spans[1:] if dropped else spans) for _, _, kind in rows),
            mutes=mutes,
            source="none" if dropped else source,  # type: ignore[arg-type]
            figures=figures,
        )

    def _cuts(self, sound: Sound | None) -> bool:
        """Whether names are to be cut out of the sound: there is one, and what becomes of it keeps words."""
        return sound is not None and self._policy.mute and self._policy.voice not in WORDLESS_VOICES

    def _hear(self, given: str | None, sound: Sound | None, rate: int) -> Heard:
        """Listen where a transcript is wanted, or where words stay audible: names are spoken that nobody wrote down."""
        wanted = given is None and self._policy.asr == "missing" and self._policy.transcript == "scrub"
        if sound is None or not (wanted or self._cuts(sound)):
            return NOTHING
        return self._listen(sound, rate, sparing=True) if self.sparing else self._listen(sound, rate)

    def _mutes(
        self,
        given: str,
        mentions: Sequence[Span],
        heard: Heard,
        spoken: Sequence[Span],
        doubt: Doubt,
        seconds: float,
    ) -> tuple[Seconds, ...]:
        """All that is to be silent: what was written and can be said, what was heard, what nobody could make out."""
        spans = [*_times(heard.words, spoken), *heard.garbled]
        apart, agreed = unmatched(given, heard.words) if given else (list(range(len(heard.words))), 0.0)
        doubted = apart if agreed >= AGREES else range(len(heard.words))
        spans += [(heard.words[number].start, heard.words[number].end) for number in sorted(doubt(doubted))]
        if mentions and agreed >= AGREES:
            spans += locate(given, [mention[:2] for mention in mentions], heard.words, seconds)
        elif mentions:
            spans += self._doubtful(heard, seconds)
        return joined(spans, margin=self._policy.mute_margin, seconds=seconds)

    def _doubt(
        self, heard: Heard, spoken: Sequence[Span], beside: Sequence[str] = (), names: Sequence[str] = ()
    ) -> Doubt:
        """What tells which of the words asked for are, or may be, names. What the second ear wrote is searched with the
        texts ``beside`` it and with the known ``names``, as all else is."""
        named = {number for start, end, _ in spoken for number in _inside(heard.words, start, end)}

        def find(written: list[str]) -> list[list[Span]]:
            return self._scrubber.find([*written, *beside], names)[: len(written)] if written else []

        otherwise, again = compared(heard.words, heard.again, find)

        def doubt(asked: Iterable[int]) -> set[int]:
            asked = frozenset(asked)
            return doubtful(heard.words, named | (again & asked), asked, self._scrubber.is_smallest, otherwise)

        return doubt

    def _doubtful(self, heard: Heard, seconds: float) -> list[Seconds]:
        """Where a mention may be that could not be placed: all speech, or all sound where no speech was found.

        Raises ``DeidError`` (uncertain) where the policy rejects instead.
        """
        left = without(heard.speech or ((0.0, seconds),), heard.wordless)
        if left and self._policy.uncertain == "reject":
            raise DeidError(
                "a name of the transcript cannot be placed in the sound", stage="transcript", reason="uncertain"
            )
        return left


def _unsure(heard: Heard, spoken: Sequence[Span], doubt: Doubt) -> list[Span]:
    """The words of the heard text that may be names, each row of them as one span beside those ``spoken``."""
    taken = [(start, end) for start, end, _ in spoken]
    places = _places(heard.words)
    rows: list[Span] = []
    for number in sorted(doubt(range(len(heard.words)))):
        start, end = places[number]
        if any(start < last and first < end for first, last in taken):
            continue
        row = rows.pop() if rows and rows[-1][1] + 1 == start else (start, end, UNSURE)
        rows.append((row[0], end, UNSURE))
    return rows


def joined(spans: Iterable[Seconds], *, margin: float, seconds: float) -> tuple[Seconds, ...]:
    """``spans`` widened by ``margin`` on both sides, within [0, ``seconds``], overlapping ones made one, ascending."""
    wide = sorted((max(0.0, start - margin), min(seconds, end + margin)) for start, end in spans)
    found: list[Seconds] = []
    for start, end in wide:
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        elif end > start:
            found.append((start, end))
    return tuple(found)


def _placeholders(text: str) -> list[Span]:
    """Names that somebody took out of the transcript before, however that was marked: they are still spoken. A word for
    what is no speech is none."""
    found = (match for match in TAKEN_OUT.finditer(text) if NOISES.isdisjoint(_tag_words(match)))
    return [(*match.span(), "PERSON") for match in found]


def _tag_words(match: "re.Match[str]") -> list[str]:
    return re.split(r"[ _-]", (match["tag"] or "").lower())


def _places(words: Sequence[HeardWord]) -> list[tuple[int, int]]:
    """Where each word stands in the heard text (single spaces), in characters."""
    stops = (np.cumsum([len(word.text) + 1 for word in words]) - 1).tolist()
    return [(stop - len(word.text), stop) for word, stop in zip(words, stops, strict=True)]


def _inside(words: Sequence[HeardWord], start: int, end: int) -> list[int]:
    """The numbers of the words that characters ``start`` to ``end`` of the heard text touch."""
    return [number for number, (begin, stop) in enumerate(_places(words)) if begin < end and stop > start]


def _times(words: Sequence[HeardWord], spans: Sequence[Span]) -> list[Seconds]:
    """When each span of the heard text was spoken."""
    places = [_inside(words, start, end) for start, end, _ in spans]
    return [(words[place[0]].start, words[place[-1]].end) for place in places]


def _figures(heard: Heard, mutes: Sequence[Seconds]) -> dict[str, float]:
    """What was counted, where something was listened to."""
    if heard is NOTHING:
        return {}
    length = {name: sum(end - start for start, end in spans) for name, spans in heard.spans().items()}
    muted = sum(end - start for start, end in mutes)
    return {"heard_words": float(len(heard.words)), "muted_seconds": muted} | length
