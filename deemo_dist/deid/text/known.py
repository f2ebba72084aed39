"""A name that is known beforehand (the subject's), wherever and however it is written.

Two different words of it side by side are the name, in any case and order, with a space, a mark or nothing between.
One alone is, if it is no word of English; if it is one (Will, Hope), where a capital tells or it is introduced.
A code of letters and digits, or a number of four digits and more, is one name.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable

from deemo_dist.deid.text.gazetteer import COMMON, EMOTIONS, read_words
from deemo_dist.deid.text.letters import LETTER, UNWRITTEN, WORD, is_unspaced

NOBODY = read_words("generic")
SHORTEST_JOINED = 5
BY_SHAPE = 0.5  # the score of a name that is told by its shape alone, the least of all: a higher threshold loses it
INTRODUCED = 0.95  # the score of a name that was introduced as one: whatever word it is, it is a name
BETWEEN, BETWEEN_UNSPACED = r"[\W_]{1,3}", r"[\W_]{0,3}"
_UNSEEN = re.compile(  # soft hyphens, no spaces, marks of direction, accents of no letter
    "[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\u0300-\u036f]"
)
_CODE = re.compile(r"(?=.*\d)(?!\W*\d{1,3}\W*$)", re.DOTALL)  # a number of three digits may stand for anything
_TITLES = r"mr|mrs|ms|dr|mister|professor|doctor|coach"
_INTRODUCTION = re.compile(
    rf"(?:\bi\s+am|\bi['’]?m|\bthis\s+is|\bnames?(?:\s+is|['’]?s|\s*:)|\bcalls?\s+me|\bhi|\bhey|\bhello|\bdear|"
    rf"\b(?:{_TITLES})\.?),?\s+$",
    re.IGNORECASE,
)
Place = tuple[int, int]


class KnownNames:
    """Patterns of ``names`` (raw, as a manifest has them: Li Na, li_na, LiNa). ``is_word`` says whether a lower-case
    word is one that English often uses, ``is_small`` whether it is one of the smallest (the, so, do)."""

    def __init__(self, names: Iterable[str], is_word: Callable[[str], bool], is_small: Callable[[str], bool]) -> None:
        self._is_small = is_small
        names = list(names)
        self._codes = [_code(name) for name in names if _CODE.match(name)]
        people = [words for name in names if not NOBODY.issuperset(words := words_of_name(name))]
        rest = [tuple(word for word in words if word not in NOBODY) for words in people]
        parts = {word for words in rest for word in words}
        whole = {words[0] for words in rest if len(words) == 1 and not is_small(words[0])}
        joined = {made for words in rest for made in _joined(words) if not is_word(made)}
        telling = {word for word in parts if not (is_word(word) or word in COMMON | EMOTIONS)}
        self._sure = _any_of(telling | whole | joined)
        self._maybe = _any_of(parts - telling - whole)
        self._together = [_any_of(set(words), many=True) for words in people if len(set(words)) > 1]

    def places(self, text: str) -> list[Place]:
        """Where ``text`` says a name or a part of it: (start, end) in characters, some overlapping."""
        plain = folded(text)
        found = [match.span() for match in self._sure.finditer(plain)] if self._sure else []
        found += [match.span() for pattern in self._codes for match in pattern.finditer(plain)]
        for pattern in filter(None, self._together):
            found += [match.span() for match in pattern.finditer(plain) if len(set(words_of_name(match[0]))) > 1]
        if self._maybe:
            shouted = text.isupper()
            found += [
                match.span()
                for match in self._maybe.finditer(plain)
                if _INTRODUCTION.search(plain[max(0, match.start() - 40) : match.start()])
                or (match[0][0].isupper() and not shouted and not self._begins(plain, match.start(), match[0]))
            ]
        return found

    def said(self, text: str) -> set[str]:
        """The words of names that ``text`` says, lower-case and without accents."""
        plain = composed(text)
        return {word for start, end in self.places(plain) for word in words_of_name(plain[start:end])}

    def _begins(self, text: str, start: int, word: str) -> bool:
        """Whether it is one of the smallest words at a sentence's begin, where a capital tells nothing."""
        return self._is_small(word.lower()) and begins_sentence(text, start)


def begins_sentence(text: str, at: int) -> bool:
    """Whether a sentence, a line or what somebody says begins at ``at``, where any word has a capital."""
    before = text[:at].rstrip(" \t\"'“‘(-–")
    return not before or before[-1] in ".!?:\n>…;"


def composed(text: str) -> str:
    """``text`` with each letter in one sign together with its accents, as all that searches it expects, and without
    signs that are not seen: a name stays that name however a machine encodes it."""
    signs = unicodedata.normalize("NFC", text)
    return _UNSEEN.sub("", signs)


def folded(text: str) -> str:
    """``text`` with every letter's accents taken off, of the same length; Korean syllables stay whole."""
    return "".join(sign if "\uac00" <= sign <= "\ud7a3" else unicodedata.normalize("NFKD", sign)[0] for sign in text)


def words_of_name(name: str) -> tuple[str, ...]:
    """The lower-case words of a name, LiNa being two; without initials, but for scripts in which a letter is a word."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", folded(composed(name)))
    words = [re.sub(f"[{UNWRITTEN}]", "", word.lower()) for word in re.findall(WORD, apart)]
    return tuple(word for word in words if len(word) > 1 or not word.isascii())


def _joined(words: tuple[str, ...]) -> set[str]:
    """The words written as one, forwards and backwards, if that is long enough to be telling."""
    made = {"".join(words), "".join(reversed(words))} if len(words) > 1 else set()
    return {word for word in made if len(word) >= SHORTEST_JOINED}


def _code(name: str) -> re.Pattern[str]:
    """A name that is a code (P0042, spk_12) as a whole: space, underscore and hyphen between its parts are one."""
    parts = re.split(r"[\s_-]+", re.sub(r"^[\W_]+|[\W_]+$", "", folded(composed(name))))
    whole = r"[\s_-]{1,3}".join(map(re.escape, parts))
    return re.compile(rf"(?<![^\W_]){whole}(?![^\W_])", re.IGNORECASE)


def _any_of(words: set[str], *, many: bool = False) -> re.Pattern[str] | None:
    """One of ``words`` (also in the plural or the genitive), or several of them in a row; None without words."""
    if not words:
        return None
    near = [word for word in words if not is_unspaced(word)]
    kinds = [_pattern(near, many, LETTER), _pattern([word for word in words if is_unspaced(word)], many, "")]
    return re.compile("|".join(filter(None, kinds)), re.IGNORECASE)


def _pattern(words: list[str], many: bool, beside: str) -> str:
    """One of ``words``, or several in a row, that nothing like ``beside`` touches (any sign, if that is empty)."""
    if not words:
        return ""
    longest = sorted(words, key=lambda word: (-len(word), word))
    one = rf"(?:{'|'.join(map(_loosely, longest))})"
    row = rf"{one}(?:{BETWEEN}{one})+" if many else rf"{one}(?:s(?=['’]))?"
    return rf"(?<!{beside}){row}(?!{beside})" if beside else rf"{one}(?:{BETWEEN_UNSPACED}{one})+" if many else one


def _loosely(word: str) -> str:
    """A word as a pattern that allows for signs between its own that some write and others do not."""
    return re.escape(word) if word.isascii() else f"[{UNWRITTEN}]*".join(map(re.escape, word))
