"""Is it a word? English by two lists at once, so that names which one of them holds are not taken for words.

A word counts if SymSpell's list (out of SCOWL and Google Books) has it and it, or what it is formed from, is a lemma
of WordNet; small lists of ours add what speech needs. Names that are words remain words: context must tell them.
"""

from collections.abc import Mapping
from functools import lru_cache

from deemo_dist.deid.text.gazetteer import COMMON, EMOTIONS, read_words
from deemo_dist.deid.text.spelled import spelled
from deemo_dist.weights import fetch

ENDINGS = (
    ("s", ""), ("es", ""), ("ies", "y"), ("ed", ""), ("ed", "e"), ("ied", "y"), ("ing", ""), ("ing", "e"), ("er", ""),
    ("er", "e"), ("est", ""), ("est", "e"), ("ier", "y"), ("iest", "y"), ("ly", ""), ("ily", "y"), ("ness", ""),
    ("iness", "y"), ("able", ""), ("ers", ""), ("ers", "e"), ("ings", ""), ("less", ""), ("ful", ""), ("ish", ""),
)  # fmt: skip
BEGINNINGS = ("un", "re", "non", "over", "out", "pre", "mis", "under", "dis", "in", "anti", "multi", "sub", "super",
              "inter", "co")  # fmt: skip
SHORTEST_STEM = 4


class Vocabulary:
    """Words of English and how often they are used, over ``lemmas`` (lower-case) of WordNet."""

    def __init__(self, lemmas: frozenset[str]) -> None:
        from spacy.lang.en.stop_words import STOP_WORDS

        self._lemmas = lemmas
        self._counts = counts()
        self.small = frozenset(word for word in STOP_WORDS if word.isalpha()) | read_words("spoken")
        self._ours = self.small | COMMON | EMOTIONS | read_words("generic")
        self.is_word = lru_cache(maxsize=100_000)(self._is_word)

    def count(self, word: str) -> int:
        """How often lower-case ``word`` is used (the most frequent 23 thousand million times, 0 for unknown)."""
        return self._counts.get(word, 0)

    def _is_word(self, word: str) -> bool:
        """Whether the lower-case ``word`` is one of English, alone or joined by hyphens; a row of letters is none."""
        if word in self._ours:
            return True
        if "-" in word:
            return not any(spelled(word)) and all(len(part) < 2 or self.is_word(part) for part in word.split("-"))
        return word in self._counts and (self._formed(word) or self._begun(word) or self._joined(word))

    def _begun(self, word: str) -> bool:
        rests = (word.removeprefix(begin) for begin in BEGINNINGS if word.startswith(begin))
        return any(len(rest) >= SHORTEST_STEM and self._formed(rest) for rest in rests)

    def _joined(self, word: str) -> bool:
        """Two words written as one (songwriter)."""
        cuts = range(SHORTEST_STEM, len(word) - SHORTEST_STEM + 1)
        return any(word[:cut] in self._lemmas and self._formed(word[cut:]) for cut in cuts)

    def _formed(self, word: str) -> bool:
        """A lemma, or one with an ending (run, runs, running)."""
        if word in self._lemmas:
            return True
        for ending, back in ENDINGS:
            stem = word.removesuffix(ending) + back if word.endswith(ending) else ""
            doubled = len(stem) > 2 and stem[-1] == stem[-2]
            if stem in self._lemmas or (doubled and stem[:-1] in self._lemmas):
                return True
        return False


@lru_cache(maxsize=1)
def counts() -> Mapping[str, int]:
    """Frequency by word of the pinned list."""
    lines = fetch("english-words").read_text(encoding="utf-8-sig").splitlines()
    return {word: int(number) for word, _, number in (line.partition(" ") for line in lines) if number}
