"""Planted names spoken by a synthetic voice and heard by Whisper: is the name, as it was heard, gone?

Whisper misspells names that it does not know. What stands between the nearest words of the sentence that were heard
right is the name as heard. Of it, in the words: ``removed`` when nothing is left, ``hidden`` when nothing is left that
sounds like a word of the name, both by the names that are found in what was heard; ``released_hidden``: the same of the
transcript that is released, out of which doubted words are taken too. In the sound: ``muted`` when all of it is to be
silenced, without a transcript and with the true one given (``muted_given``). A name of which nothing was heard is left
out. ``other_...``: other words, the same question.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from difflib import SequenceMatcher

import numpy as np

from deemo_dist.deid.text.align import Token, aligned, heard_tokens, sound_key, text_tokens
from deemo_dist.deid.text.asr import Heard, Listener
from deemo_dist.deid.text.spoken import Words, _unsure
from tests.pii import Sentence, Tally, covered
from tests.speech import in_turn
from tests.voices import RATE, speak

LONGEST = 160
ALIKE = 0.75


def speakable(rows: Sequence[Sentence]) -> list[Sentence]:
    """Short sentences of one line that name a person and hold nothing else that is not said as it is written."""
    return [
        row
        for row in rows
        if len(row.text) <= LONGEST
        and "\n" not in row.text
        and any(mention.kind == "PERSON" for mention in row.planted)
        and all(mention.kind in ("PERSON", "LOCATION", "DATE") for mention in row.planted)
    ]


def say(rows: Sequence[Sentence]) -> list[tuple[Sentence, np.ndarray]]:
    """Each sentence with its sound by Piper's voice: float32 [N] at 16 kHz."""
    return [(row, speak(row.text)) for row in rows]


def say_in_turn(rows: Sequence[Sentence]) -> list[tuple[Sentence, np.ndarray]]:
    """The same by Kokoro's English voices, which sound more like people; nothing where they cannot be had."""
    return [(row, sound) for row, sound in zip(rows, in_turn([row.text for row in rows]), strict=False)]


def listen(listener: Listener, said: Sequence[tuple[Sentence, np.ndarray]]) -> list[tuple[Sentence, Heard, float]]:
    """Each sentence, what was heard of it, and how long it is (seconds)."""
    return [(row, listener(sound, RATE), len(sound) / RATE) for row, sound in said]


def judge(words: Words, hearings: Sequence[tuple[Sentence, Heard, float]], *, lower: bool = False) -> dict[str, Tally]:
    """The shares described above; ``lower``: as if both ears wrote no capitals."""
    counts: dict[str, list[int]] = {}
    for row, heard, seconds in hearings:
        if lower:
            heard = replace(
                heard,
                words=tuple(replace(word, text=word.text.lower()) for word in heard.words),
                again=tuple(replace(passage, text=passage.text.lower()) for passage in heard.again),
            )
        for name, good in _verdicts(words, row, heard, seconds):
            tally = counts.setdefault(name, [0, 0])
            tally[0] += good
            tally[1] += 1
    return {name: Tally(*tally) for name, tally in sorted(counts.items())}


def _verdicts(words: Words, row: Sentence, heard: Heard, seconds: float) -> list[tuple[str, bool]]:
    words._listen = lambda waveform, rate: heard  # type: ignore[assignment]
    silence = np.zeros(round(seconds * RATE), dtype=np.float32)
    cut = words(None, {}, (), silence, RATE).mutes
    cut_given = words(row.text, {}, (), silence, RATE).mutes
    (spans,) = words._scrubber.find([heard.text])
    released = [*spans, *_unsure(heard, spans, words._doubt(heard, spans))]
    given, texts, times = text_tokens(row.text), text_tokens(heard.text), heard_tokens(heard.words)
    match = aligned([token.key for token in given], [token.key for token in texts])
    found, apart = [], set[int]()
    for mention in row.planted:
        place = _as_heard(mention.start, mention.end, given, len(texts), match)
        apart |= set(place)
        if mention.kind != "PERSON" or not place:
            continue
        keys = {sound_key(word) for word in re.findall(r"[^\W\d_]{3,}", row.text[mention.start : mention.end])}
        left, left_released = (
            [texts[n] for n in place if not covered(rows, heard.text, int(texts[n].start), int(texts[n].end))]
            for rows in (spans, released)
        )
        found += [("removed", not left), ("hidden", not _sounds(left, keys))]
        found += [("released_hidden", not _sounds(left_released, keys))]
        found += [("muted", _within(times, place, cut)), ("muted_given", _within(times, place, cut_given))]
    for n, token in enumerate(texts):
        if n not in apart:
            found.append(("other_removed", any(a < token.end and token.start < b for a, b, _ in spans)))
            found.append(("other_left_out", any(a < token.end and token.start < b for a, b, _ in released)))
            found += [("other_muted", _within(times, [n], cut)), ("other_muted_given", _within(times, [n], cut_given))]
    return found


def _sounds(left: Sequence[Token], keys: Collection[str]) -> bool:
    """Whether one of the words that are left sounds like one of the name's."""
    return any(_alike(token.key, key) for token in left for key in keys)


def _alike(one: str, other: str) -> bool:
    return len(one) >= 3 and SequenceMatcher(None, one, other, autojunk=False).ratio() >= ALIKE


def _within(times: Sequence[Token], place: Sequence[int], cut: Sequence[tuple[float, float]]) -> bool:
    return all(any(start <= times[n].start and times[n].end <= end for start, end in cut) for n in place)


def _as_heard(start: int, end: int, given: Sequence[Token], count: int, match: Sequence[int | None]) -> range:
    """The numbers of the words heard in the place of ``given[start:end]``, of ``count`` words heard in all."""
    before = [place for place, token in zip(match, given, strict=True) if token.end <= start and place is not None]
    after = [place for place, token in zip(match, given, strict=True) if token.start >= end and place is not None]
    return range(before[-1] + 1 if before else 0, after[0] if after else count)
