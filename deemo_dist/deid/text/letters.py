"""Letters of every script: with the signs that belong to them, and which of them an English recogniser can read."""

import re
import unicodedata
from itertools import pairwise

JOINERS = "\u200c\u200d"  # nothing to be seen, but within words of Persian, Hindi and others
LAST_MARK = 0x20000  # beyond are ideographs, and signs that only vary how others look
UNWRITTEN = JOINERS + "\u0591-\u05c7\u064b-\u065f\u0670\u0640"  # and vowels of Hebrew and Arabic, mostly left out
READABLE = 0.5  # of a text's letters are Latin, or nobody here can say what in it is a name
_UNSPACED = re.compile(
    "[\u0590-\u10ff\u1100-\u11ff\u1780-\u18af\u1a20-\u1aaf\u2e80-\u9fff\ua000-\ua4cf\ua960-\uabff\uac00-\ud7ff"
    "\uf900-\ufaff\ufb1d-\ufdff\ufe70-\ufeff\uff66-\uffdc\U00011000-\U00011fff\U00020000-\U0003ffff]"
)
_LATIN = re.compile(
    "[A-Za-z\u00aa\u00ba\u00c0-\u024f\u1e00-\u1eff\u2c60-\u2c7f\ua720-\ua7ff\ufb00-\ufb06\uff21-\uff5a]"
)


def _marks() -> str:
    """Vowel signs, accents and the like, which are no letters to ``re``, as ranges for a character class."""
    found = [sign for sign in range(LAST_MARK) if unicodedata.category(chr(sign)) in ("Mn", "Mc")]
    starts = [found[0], *(after for before, after in pairwise(found) if after != before + 1)]
    ends = [*(before for before, after in pairwise(found) if after != before + 1), found[-1]]
    return "".join(f"{chr(start)}-{chr(end)}" for start, end in zip(starts, ends, strict=True))


MARK = f"[{_marks()}{JOINERS}]"
LETTER = rf"(?:[^\W\d_]|{MARK})"
WORD = rf"[^\W\d_]{LETTER}*"
"""A letter, and a word of letters, as patterns of ``re``."""


def is_foreign(word: str) -> bool:
    """Whether a word has letters of another script than ours."""
    return any(sign.isalpha() and not _LATIN.match(sign) for sign in word)


def is_name_alone(word: str) -> bool:
    """Whether a foreign word is more than a letter that stands for something (the angle α)."""
    return len(word) > 1 or unicodedata.category(word) == "Lo"


def is_unspaced(word: str) -> bool:
    """Whether a word is of a script that writes words without spaces between them, or others onto their ends."""
    return bool(_UNSPACED.search(word))


def can_be_read(text: str) -> bool:
    """Whether at least half of a text's letters are Latin, so that names in it can be told from words."""
    letters = [sign for sign in text if sign.isalpha()]
    return sum(bool(_LATIN.match(sign)) for sign in letters) >= READABLE * len(letters)
