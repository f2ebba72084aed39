"""Planted names spoken by a synthetic voice and heard by Whisper: is the name, as it was heard, removed?

Whisper misspells names that it does not know. What stands between the nearest words of the sentence that were heard
right is the name as heard; it counts as removed when nothing of it is left (``removed``), and as hidden when nothing
is left that sounds like a word of the name (``hidden``). A name of which nothing was heard at all is left out.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from deemo_dist.deid.text.align import Token, aligned, sound_key, text_tokens
from deemo_dist.deid.text.asr import Listener
from deemo_dist.deid.text.transcript import Scrubber
from tests.pii import Sentence, Tally, covered
from tests.voices import RATE, speak

LONGEST = 160


@dataclass(frozen=True)
class Hearing:
    """``removed`` and ``hidden`` of the persons heard, ``other``: other heard words removed; seconds and CPU are for
    the real-time factor."""

    removed: Tally
    hidden: Tally
    other: Tally


def speakable(rows: Sequence[Sentence]) -> list[Sentence]:
    """Short sentences of one line that name a person and hold nothing that is not said."""
    return [
        row
        for row in rows
        if len(row.text) <= LONGEST
        and "\n" not in row.text
        and any(mention.kind == "PERSON" for mention in row.planted)
        and all(mention.kind in ("PERSON", "LOCATION") for mention in row.planted)
    ]


def hear(scrubber: Scrubber, listener: Listener, rows: Sequence[Sentence], *, lower: bool = False) -> Hearing:
    """Speak every sentence, hear it, scrub what was heard (``lower``: without capitals), and compare."""
    counts = {"removed": [0, 0], "hidden": [0, 0], "other": [0, 0]}
    for row in rows:
        text = listener(speak(row.text), RATE).text
        text = text.lower() if lower else text
        (found,) = scrubber.find([text])
        given, heard = text_tokens(row.text), text_tokens(text)
        match = aligned([token.key for token in given], [token.key for token in heard])
        places = []
        for mention in row.planted:
            place = _as_heard(mention.start, mention.end, given, heard, match)
            if not place:
                continue
            places.append(place)
            if mention.kind == "PERSON":
                keys = {sound_key(word) for word in re.findall(r"[^\W\d_]{3,}", row.text[mention.start : mention.end])}
                left = [token for token in place if not covered(found, text, int(token.start), int(token.end))]
                for name, good in (("removed", not left), ("hidden", not {token.key for token in left} & keys)):
                    counts[name][0] += good
                    counts[name][1] += 1
        apart = {token for place in places for token in place}
        for token in heard:
            if token not in apart:
                counts["other"][0] += any(start < token.end and token.start < end for start, end, _ in found)
                counts["other"][1] += 1
    return Hearing(**{name: Tally(*tally) for name, tally in counts.items()})


def _as_heard(
    start: int, end: int, given: Sequence[Token], heard: Sequence[Token], match: Sequence[int | None]
) -> list[Token]:
    """The words heard in the place of ``given[start:end]``."""
    before = [match[n] for n, token in enumerate(given) if token.end <= start and match[n] is not None]
    after = [match[n] for n, token in enumerate(given) if token.start >= end and match[n] is not None]
    first = before[-1] + 1 if before else 0  # type: ignore[operator]
    return list(heard[first : after[0] if after else len(heard)])
