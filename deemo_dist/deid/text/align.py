"""Where in the sound a passage of a given transcript is: its words laid against the words heard, by edit distance.

A passage whose every word was heard is where these were heard. Any other (names are what Whisper mishears most) is
somewhere between its nearest neighbours that were surely heard: the whole of that gap, so that nothing slips through.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deemo_dist.deid.text.asr import HeardWord
from deemo_dist.deid.text.letters import WORD

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LEAST_SECONDS = 0.05  # of a spoken character: a gap shorter than that is not where a passage is
LONG_ENOUGH = 4  # letters of a key that is an anchor by itself
_SOUNDS = (
    (r"[^a-z]", ""), (r"^(?:kn|gn)", "n"), (r"^wr", "r"), (r"ph", "f"), (r"ck", "k"), (r"c(?=[eiy])", "s"),
    (r"[cq]", "k"), (r"z", "s"), (r"v", "f"), (r"w(?=[^aeiouy]|$)", ""), (r"(?<=.)h", ""), (r"(?<=.)[aeiouy]+", "a"),
    (r"(.)\1+", r"\1"),
)  # fmt: skip
_TOKEN = re.compile(rf"\d|{WORD}(?:['’]{WORD})*")


@dataclass(frozen=True)
class Token:
    """A word to be compared: its ``key`` (how it sounds, roughly) and where it is: characters, or seconds."""

    key: str
    start: float
    end: float


def sound_key(word: str) -> str:
    """A rough spelling of how ``word`` sounds: Keller and Kellar, Sara and Sarah have the same one."""
    plain = unicodedata.normalize("NFKD", word.lower()).encode("ascii", "ignore").decode()
    for pattern, by in _SOUNDS:
        plain = re.sub(pattern, by, plain)
    return plain


def text_tokens(text: str) -> list[Token]:
    """The words of a text, digits one by one, with their places in it."""
    return [token for match in _TOKEN.finditer(text) for token in _token(match)]


def heard_tokens(words: Sequence[HeardWord]) -> list[Token]:
    """The words heard, digits one by one, with their times; a word that falls apart shares its time out by length."""
    tokens = []
    for word in words:
        rate = (word.end - word.start) / max(1, len(word.text))
        for token in text_tokens(word.text):
            tokens.append(Token(token.key, word.start + token.start * rate, word.start + token.end * rate))
    return tokens


def _token(match: re.Match[str]) -> list[Token]:
    word = DIGITS[int(match[0])] if match[0].isdigit() else match[0]
    key = sound_key(word)
    return [Token(key, match.start(), match.end())] if key else []


def aligned(given: Sequence[str], heard: Sequence[str]) -> list[int | None]:
    """For each key of ``given`` the index of the equal key of ``heard`` it is laid on, None where there is none.

    The path of least insertions, deletions and substitutions (Levenshtein): O(len(given) * len(heard)) in NumPy.
    """
    names = {key: number for number, key in enumerate(dict.fromkeys([*given, *heard]))}
    a, b = (np.array([names[key] for key in keys], dtype=np.int64) for keys in (given, heard))
    steps = np.arange(len(b) + 1)
    cost = np.zeros((len(a) + 1, len(b) + 1), dtype=np.int32)
    cost[0] = steps
    for row in range(1, len(a) + 1):
        best = np.minimum(cost[row - 1, 1:] + 1, cost[row - 1, :-1] + (b != a[row - 1]) * 2)
        full = np.concatenate([[row], best])
        cost[row] = np.minimum.accumulate(full - steps) + steps
    found: list[int | None] = [None] * len(a)
    row, column = len(a), len(b)
    while row and column:
        if a[row - 1] == b[column - 1] and cost[row, column] == cost[row - 1, column - 1]:
            found[row - 1] = column - 1
            row, column = row - 1, column - 1
        elif cost[row, column] == cost[row - 1, column] + 1:
            row -= 1
        elif cost[row, column] == cost[row, column - 1] + 1:
            column -= 1
        else:
            row, column = row - 1, column - 1
    return found


def locate(
    text: str, passages: Sequence[tuple[int, int]], words: Sequence[HeardWord], seconds: float
) -> list[tuple[float, float]]:
    """Where each passage (start, end in characters of ``text``) is spoken: (start, end) seconds, in the same order.

    ``seconds``: how long the sound is; a passage without a neighbour that was heard reaches to its begin or end.
    """
    given, heard = text_tokens(text), heard_tokens(words)
    match = aligned([token.key for token in given], [token.key for token in heard])
    sure = [_is_sure(number, match, given) for number in range(len(given))]
    spans = []
    for start, end in passages:
        inside = [number for number, token in enumerate(given) if token.start < end and token.end > start]
        at = [match[number] for number in inside]
        if at and None not in at and not _is_foreign_in_part(text[start:end]):
            known = [place for place in at if place is not None]
            spans.append((heard[known[0]].start, heard[known[-1]].end))
            continue
        before = [number for number, token in enumerate(given) if token.end <= start and sure[number]]
        after = [number for number, token in enumerate(given) if token.start >= end and sure[number]]
        left, right = (match[rows[where]] if rows else None for rows, where in ((before, -1), (after, 0)))
        first, last = 0.0 if left is None else heard[left].end, seconds if right is None else heard[right].start
        if last - first < LEAST_SECONDS * (end - start):  # its time was given to its neighbours
            first, last = 0.0 if left is None else heard[left].start, seconds if right is None else heard[right].end
        spans.append((first, last))
    return spans


def _is_foreign_in_part(passage: str) -> bool:
    """Whether a letter of it has no sound that is compared (Anna 李): where that one is spoken, no token tells."""
    words = (match[0] for match in _TOKEN.finditer(passage))
    return any(not word.isascii() and not sound_key(word) for word in words)


def unmatched(text: str, words: Sequence[HeardWord]) -> tuple[list[int], float]:
    """The numbers of ``words`` that no word of ``text`` is laid on, and the share of ``text`` that was heard."""
    given = text_tokens(text)
    owners = [number for number, word in enumerate(words) for _ in heard_tokens([word])]
    match = aligned([token.key for token in given], [token.key for token in heard_tokens(words)])
    laid = {owners[place] for place in match if place is not None}
    share = sum(place is not None for place in match) / max(1, len(match))
    return [number for number in range(len(words)) if number not in laid], share


def _is_sure(number: int, match: Sequence[int | None], given: Sequence[Token]) -> bool:
    """An anchor: a long word that was heard, or one beside another that was heard right beside it."""
    place = match[number]
    if place is None:
        return False
    if len(given[number].key) >= LONG_ENOUGH:
        return True
    beside = [match[other] for other in (number - 1, number + 1) if 0 <= other < len(given)]
    return any(other is not None and abs(other - place) == 1 for other in beside)
