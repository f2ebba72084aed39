"""Names, places and contacts that the raw texts of a clip say and its released ones still say, read apart from what
removed them: nothing here is of ``deid.text``.

Two readings. *Known* names (the person's own, and listed ones) are matched word by word: without accents, whole words.
What is *found* is whatever spaCy takes for a person or a place, and what looks like an e-mail address or a telephone's
number, whoever it is of. The scrubber has the same spaCy model for one of its recognisers, so this reading tells
whether something was removed at all and whether a rule took a name back; a name that the model does not know is in
neither. On the sentences of ``tests/pii.py``, with names that no list of ours has, it finds two words of names and
places in three, and of texts written small one in seven; of what the scrubber leaves there it takes less than one word
in a hundred for a name.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from deemo_dist.imports import without
from deemo_dist.weights import fetch

USED = 3_000_000  # times in the pinned list's books: a word so common is a word, if nothing tells otherwise
SHORTEST = 3
SHORTEST_JOINED = 5
KINDS = ("PERSON", "GPE", "LOC")
CODES = frozenset(
    ("actor", "child", "client", "female", "guest", "host", "male", "man", "nobody", "participant", "patient", "person",
     "player", "speaker", "student", "subject", "test", "unknown", "user", "woman")
)  # fmt: skip
_PLACEHOLDER = re.compile(r"\[[A-Z]+_\d+\]")
_WORD = re.compile(r"[^\W\d_]+")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_DIGITS = re.compile(r"(?<![\w.])\+?\d(?:[ .()-]{0,2}\d){6,}(?!\w)")
_BEGIN = re.compile(r"(?:^|[.!?:\n>…;])[\s\"'“‘(–-]*$")

Uses = Counter[str]
"""Words, small and without accents, by how often a text uses them as (parts of) names."""


class KnownNames:
    """Finds ``names`` (raw, as a manifest has them: Anna Keller, li_na, LiNa). ``is_word``: whether a small word is one
    of everyday English; such a word is a name only where it has a capital within a sentence."""

    def __init__(self, names: Iterable[str], is_word: Callable[[str], bool]) -> None:
        self._is_word = is_word
        people = [_parts(name) for name in names]
        joined = {made for parts in people for made in ("".join(parts), "".join(reversed(parts)))}
        self._words = {word for parts in people for word in parts}
        self._words |= {word for word in joined if len(word) >= SHORTEST_JOINED and not is_word(word)}

    def __call__(self, text: str) -> Uses:
        """The words of names that ``text`` uses as such."""
        plain = folded(text)
        shouted = text.isupper()
        return Counter(
            word
            for match in _WORD.finditer(plain)
            if (word := match[0].lower()) in self._words
            and (not self._is_word(word) or (not shouted and _capital_within(plain, match)))
        )


class NameReader:
    """Persons and places as spaCy's small English model finds them: for words that nobody listed."""

    def __init__(self) -> None:
        with without("torch", "transformers"):
            import spacy

        parts = ["tagger", "parser", "senter", "attribute_ruler", "lemmatizer"]
        self._model: Any = spacy.load(fetch("spacy-en-sm"), exclude=parts)

    def __call__(self, text: str) -> Uses:
        """The words of persons and places in ``text``, but for words of everyday that are written small."""
        tokens = (token for found in self._model(text).ents if found.label_ in KINDS for token in found)
        words = (match[0] for token in tokens if not token.is_stop for match in _WORD.finditer(folded(token.text)))
        return Counter(
            word.lower() for word in words if len(word) >= SHORTEST and not (word.islower() and is_everyday(word))
        )


def names_left(uses: Callable[[str], Uses], texts: Sequence[str]) -> tuple[int, int]:
    """(uses of names in the raw texts, how many of them the released ones still have). ``texts``: raw and released by
    turns. A word of a name that also stands there as a word may stay as often as that."""
    there = left = 0
    for raw, released in zip(texts[::2], texts[1::2], strict=True):
        before, after = _counts(raw), _counts(_PLACEHOLDER.sub(" ", released))
        for word, used in uses(raw).items():
            there += used
            left += min(used, max(0, after[word] - (before[word] - used)))
    return there, left


def contacts_left(texts: Sequence[str]) -> tuple[int, int]:
    """(written e-mail addresses and numbers of seven digits or more in the raw texts, those that the released ones
    still have). ``texts`` as in :func:`names_left`."""
    there = left = 0
    for raw, released in zip(texts[::2], texts[1::2], strict=True):
        found = {match[0] for pattern in (_EMAIL, _DIGITS) for match in pattern.finditer(raw)}
        there += len(found)
        left += sum(contact in released for contact in found)
    return there, left


def folded(text: str) -> str:
    """``text`` without accents and signs that are not seen."""
    signs = unicodedata.normalize("NFKD", text)
    return "".join(sign for sign in signs if unicodedata.category(sign) not in ("Mn", "Cf"))


def is_everyday(word: str) -> bool:
    """Whether a small word is often used in English books (names that are frequent there, too: anna)."""
    return word in _everyday()


@lru_cache(maxsize=1)
def _everyday() -> frozenset[str]:
    """The words of the pinned list that are used often."""
    lines = fetch("english-words").read_text(encoding="utf-8-sig").splitlines()
    rows = (line.partition(" ") for line in lines)
    return frozenset(word for word, _, count in rows if count and int(count) >= USED)


def _counts(text: str) -> Uses:
    return Counter(word.lower() for word in _WORD.findall(folded(text)))


def _parts(name: str) -> tuple[str, ...]:
    """The words of a name, LiNa being two; without initials, and without what only numbers people (player 12)."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", folded(name))
    words = (word.lower() for word in _WORD.findall(apart))
    return tuple(word for word in words if (len(word) > 1 or not word.isascii()) and word not in CODES)


def _capital_within(text: str, match: re.Match[str]) -> bool:
    """Whether a word has a capital that no sentence's begin explains."""
    return match[0][0].isupper() and _BEGIN.search(text[max(0, match.start() - 20) : match.start()]) is None
