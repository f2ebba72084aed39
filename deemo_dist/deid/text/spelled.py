"""Names that are spelled out, letter by letter: K-O-W-A-L-S-K-I, k o w a l s k i, K as in kilo, O as in oscar.

Three letters or more that stand alone in a row are a name, but for abbreviations and for what nobody spells: one letter
again and again (a stutter), the alphabet's own order, and rows of the words "a" and "I".
"""

import re
from collections.abc import Iterator

from deemo_dist.deid.text.gazetteer import read_words

SHORTEST = 3
ALPHABET = "abcdefghijklmnopqrstuvwxyz"
_LETTER = r"(?:(?:capital|double)\s+)?[A-Za-zÀ-ɏ](?:\s+(?:as\s+in|for|like)\s+[A-Za-z]+)?"
_BETWEEN = r"[\s.,·–—-]{1,3}"
_ROW = re.compile(
    rf"(?<![^\W_])(?<!['’]){_LETTER}(?:{_BETWEEN}{_LETTER}){{{SHORTEST - 1},}}(?![^\W_]|['’](?:[mdMD]|ll|ve)\b)"
)
_SINGLE = re.compile(r"(?<![^\W_])[^\W\d_](?![^\W_])")
_CLOCK = re.compile(r"(?:\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirty|fifteen))\W*$")
# "us" and a word or two of one letter behind it (the U.S. I know): the abbreviation ends where words begin
_SHORT = "|".join(sorted(read_words("abbreviations"), key=lambda word: (-len(word), word)))
_KNOWN = re.compile(rf"[ai]?(?:{_SHORT})?[aio]*")
_HOURS = re.compile(r"[ap]m")


def spelled(text: str) -> Iterator[tuple[int, int]]:
    """Where a name is spelled in ``text``: (start, end) in characters, ascending."""
    for row in _ROW.finditer(text):
        letters = letters_of(row[0])
        hours = _HOURS.match(letters) if _CLOCK.search(text[: row.start()].lower()) else None
        if _tells(letters[hours.end() :] if hours else letters):
            yield row.span()


def letters_of(row: str) -> str:
    """The letters that stand alone in a spelled row, lower-case, as the word they make."""
    return "".join(_SINGLE.findall(row)).lower()


def _tells(letters: str) -> bool:
    return (
        len(letters) >= SHORTEST and len(set(letters)) > 1 and letters not in ALPHABET and not _KNOWN.fullmatch(letters)
    )
