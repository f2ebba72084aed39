"""Names by list, by shape and by what stands beside them, for written and for spoken language.

Recognisers trained on news know the names of news. These rules ask the other way round: what is no word of English is
taken for a name, in whatever spelling; a word with a capital within a sentence too; and a word that can be both is a
name after "my name is", after "Mr", or beside another name.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from presidio_analyzer import EntityRecognizer, RecognizerResult
from presidio_analyzer.nlp_engine import NlpArtifacts

from deemo_dist.deid.text import letters
from deemo_dist.deid.text.gazetteer import EMOTIONS, gazetteer, read_words
from deemo_dist.deid.text.known import BY_SHAPE, INTRODUCED
from deemo_dist.deid.text.spelled import spelled
from deemo_dist.deid.text.vocabulary import Vocabulary

WORD = re.compile(rf"{letters.WORD}(?:[’'-]{letters.WORD})*")
PART = re.compile(r"(?:n[’']t|[’'](?:s|m|re|ve|ll|d))$", re.IGNORECASE)
RARE, UNCOMMON = 3_000_000, 60_000_000
NOT_PERSONS = ("DATE", "TIME", "CARDINAL", "ORDINAL", "NORP", "LANGUAGE", "MONEY", "PERCENT", "QUANTITY")
OF_PLACES = frozenset(("lake", "port", "west", "east", "north", "south", "mount", "fort"))
CAPITAL = read_words("capitals")
SHORT = read_words("short_names")
ALSO_WORDS = frozenset(("an", "ha", "ho"))
# What a name follows at once: after the first kind any word that is not of everyday, after the second a rare one only.
_NAME_IS = r"(?:my|his|her|your|their|the|first|last|sur|nick|maiden|user)\s*names?(?:\s+is|['’]s|\s*[:?]|\s+are)"
_NAMED = r"(?:name|user:|called|(?:nick)?named(?:\s+(?:him|her|them|it))?|calls?\s+(?:me|him|her)|dear)"
_TITLE = r"(?:mr|mrs|ms|dr|mister|professor|doctor)"
_TALK = (
    r"(?:i\s+am|i['’]m|this\s+is|it\s+was|thanks?|thank\s+you|hi|hey|hello|against|beat|told|asked|met|ask|and|said)"
)
_KIN = (
    r"(?:with|coach|captain|brother|sister|husband|wife|friend|father|mother|son|daughter|dad|mum|mom|"
    r"aunt|auntie|uncle|cousin|grandma|grandpa)"
)
SURELY = re.compile(rf"\b(?:{_NAME_IS}|{_NAMED}|{_TITLE}\.?):?\s+$", re.IGNORECASE)
MAYBE = re.compile(rf"\b(?:{_TALK}|{_KIN}),?\s+$", re.IGNORECASE)
# What introduces a name even where it is a word of feeling or of everyday: alone, and only with a second name behind.
NAME_IS = re.compile(rf"\b(?:{_NAME_IS}|{_TITLE}\.?|calls?\s+(?:me|him|her)):?\s+$", re.IGNORECASE)
I_AM = re.compile(r"\b(?:i\s+am|i['’]m|this\s+is|name['’]s)\s+$", re.IGNORECASE)
NAME_ENDS = re.compile(r"\s*(?:$|[^\w\s'’]|(?:and|but|from|here|i|so|the|who|in|of|with)\b)", re.IGNORECASE)
# A speaker's label at a line's begin, behind a time or a dash; what follows a feeling that is rated, not somebody.
LABEL = re.compile(
    rf"^(?:[ \t]*[\[(]?\d[\d:.,]{{0,12}}[\])]?)?[ \t]*(?:[-–*•>\"“][ \t]*)?({letters.WORD})[ \t]?:", re.MULTILINE
)
RATED = re.compile(
    r"\s*(?:[-+]?\d[\d.]{0,8}\s*(?:%|/\s*\d+|out\s+of\s+\w+)?|high|low|none|medium|moderate|mild|slight|strong|weak|absent)"
    r"\s*(?:$|[^\w\s]|\n)",
    re.IGNORECASE,
)
SCORES = {"PERSON": 0.6, "NAME": BY_SHAPE}


@dataclass(frozen=True)
class Word:
    """A word of a text: ``start``, ``end`` in characters (a possessive 's left out), what spaCy makes of it,
    whether a number follows (Article 50)."""

    text: str
    start: int
    end: int
    tag: str
    entity: str
    counted: bool

    @property
    def lower(self) -> str:
        """Without capitals."""
        return self.text.lower()

    @property
    def capital(self) -> bool:
        """Whether it begins with one."""
        return self.text[:1].isupper()


class NameRecogniser(EntityRecognizer):
    """Persons, places, clubs and tournaments by list; ``NAME`` by shape and context: some name, of whatever kind."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__(supported_entities=["PERSON", "LOCATION", "ORGANIZATION", "NAME"], name="deemo names")
        self._lists = gazetteer()
        self._words = vocabulary
        self._places = _any_of(self._lists.places)
        self._events = _any_of(read_words("events", ";"))

    def load(self) -> None:
        """Nothing to load: the lists came with the constructor."""

    def analyze(self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts) -> list[RecognizerResult]:
        """Spans of names and places in ``text``."""
        found = [RecognizerResult("LOCATION", *match.span(), 0.7) for match in self._places.finditer(text)]
        found += [RecognizerResult("ORGANIZATION", *match.span(), 0.7) for match in self._events.finditer(text)]
        words = list(words_of(text, nlp_artifacts.tokens))
        sure = [*self._introduced(text, words), *self._labels(text), *spelled(text)]
        found += [RecognizerResult("PERSON", *place, INTRODUCED) for place in sure]
        return found + [
            RecognizerResult(kind, word.start, word.end, INTRODUCED if word.lower in SHORT else SCORES[kind])
            for word, kind in zip(words, self._kinds(text, words), strict=True)
            if kind
        ]

    def _introduced(self, text: str, words: Sequence[Word]) -> Iterator[tuple[int, int]]:
        """Names that are words and that an introduction makes names: "my name is joy", "i am will young"."""
        lists = self._lists
        for word, second in zip_longest(words, words[1:]):
            before = text[max(0, word.start - 40) : word.start]
            end = second.end if second and self._is_family_name(text, word, second) else 0
            if NAME_IS.search(before) and (
                word.lower in lists.given or word.lower in lists.ambiguous - self._words.small
            ):
                yield word.start, end or word.end
            elif end and word.lower in lists.given and I_AM.search(before):
                yield word.start, end

    def _labels(self, text: str) -> Iterator[tuple[int, int]]:
        """Speakers by a given name that is a word as well, before a colon where a line begins ("Will: because we won");
        a feeling (joy) is one only beside a label that is no feeling, and never where it is rated (joy: 7)."""
        labels = list(LABEL.finditer(text))
        talk = any(label[1].lower() not in EMOTIONS for label in labels)
        for label in labels:
            word = label[1].lower()
            feeling = word in EMOTIONS and (not talk or RATED.match(text, label.end()))
            if word in self._lists.given and not feeling:
                yield label.span(1)

    def _is_family_name(self, text: str, first: Word, second: Word) -> bool:
        """Whether ``second`` stands right behind ``first`` and can be a family name, with which the name ends."""
        lower, lists = second.lower, self._lists
        named = lower in lists.family | lists.likely | lists.sure or not self._words.is_word(lower)
        near = text[first.end : second.start] == " " and NAME_ENDS.match(text, second.end)
        return bool(near) and named and len(lower) > 1 and lower not in self._words.small

    def _kinds(self, text: str, words: Sequence[Word]) -> list[str]:
        """PERSON, NAME or nothing for each word; a word beside a name is looked at again."""
        telling = [_capital_tells(text, words, number) for number in range(len(words))]
        kinds = [self._by_itself(word, tells, text) for word, tells in zip(words, telling, strict=True)]
        for number, word in enumerate(words):
            if not kinds[number] and _is_short_name(text, words, number, telling[number]):
                kinds[number] = "PERSON"
            elif not kinds[number] and self._beside(text, words, kinds, telling, number):
                kinds[number] = "NAME" if word.lower not in self._lists.ambiguous else "PERSON"
        return kinds

    def _by_itself(self, word: Word, telling: bool, text: str) -> str:
        lower = word.lower
        proper = word.tag in ("NNP", "NNPS")
        if lower in self._lists.sure or (lower in self._lists.likely and not self._words.is_word(lower)):
            return "PERSON"
        if letters.is_foreign(lower):
            return "NAME" if letters.is_name_alone(lower) else ""
        if word.entity in NOT_PERSONS and self._words.is_word(lower):
            return ""
        if word.capital and (telling or proper) and lower in self._lists.ambiguous | self._lists.likely:
            return "PERSON"
        if _is_shorthand(word) or lower in self._words.small or lower in CAPITAL:
            return ""
        if len(lower) >= 3 and not self._words.is_word(lower):
            return "NAME"
        if word.capital and telling and proper and not word.counted:
            return "NAME"
        return "PERSON" if self._announced(word, text) else ""

    def _announced(self, word: Word, text: str) -> bool:
        """A word that is rarely used, after what announces a name; after a sure announcement a less rare one too."""
        before = text[max(0, word.start - 40) : word.start]
        if word.lower in EMOTIONS or (len(word.lower) < 3 and word.lower not in SHORT - ALSO_WORDS):
            return False
        if SURELY.search(before):
            return self._words.count(word.lower) < UNCOMMON and word.tag not in ("VBD", "VBG", "VBZ", "RB", "IN", "DT")
        return bool(MAYBE.search(before)) and self._words.count(word.lower) < RARE and word.tag in ("NN", "NNP", "FW")

    def _beside(
        self, text: str, words: Sequence[Word], kinds: Sequence[str], telling: Sequence[bool], number: int
    ) -> bool:
        """Right before or after a name, with only a space between, and not a word of everyday."""
        word = words[number]
        everyday = word.lower in self._words.small or word.lower in CAPITAL or word.entity in NOT_PERSONS
        if everyday and word.lower not in OF_PLACES:
            return False
        for other in (number - 1, number + 1):
            if not (0 <= other < len(words) and kinds[other]):
                continue
            first, second = sorted((word, words[other]), key=lambda each: each.start)
            if text[first.end : second.start] != " ":
                continue
            if word.capital and words[other].capital and (telling[number] or self._words.count(word.lower) < RARE):
                return True
            if word.lower in OF_PLACES and other > number:
                return True
            limit = 2 * RARE if other < number else RARE
            rare = self._words.count(word.lower) < limit and word.tag in ("NN", "NNP", "NNS", "FW", "JJ")
            if not word.capital and not words[other].capital and rare:
                return True
        return False


def _is_short_name(text: str, words: Sequence[Word], number: int, telling: bool) -> bool:
    """Whether a word of two letters is a name by its capital, or, where a sentence begins, by a verb behind it."""
    word = words[number]
    if word.lower not in SHORT or not word.text.istitle():
        return False
    if telling:
        return word.lower not in ALSO_WORDS or re.search(r"[\w,] $", text[: word.start]) is not None
    after = words[number + 1] if number + 1 < len(words) else None
    return after is not None and text[word.end : after.start] == " " and after.tag in ("VBD", "VBZ", "MD")


def _any_of(phrases: Iterable[str]) -> re.Pattern[str]:
    """Any of ``phrases``, the longest first, however written."""
    longest = sorted(phrases, key=lambda phrase: (-len(phrase), phrase))
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest))})(?!\w)", re.IGNORECASE)


def _is_shorthand(word: Word) -> bool:
    """ATP, SSN, VII: few letters, all capitals, and no list of names has them."""
    return word.text.isupper() and len(word.text) <= 4


def words_of(text: str, tokens: Any) -> Iterator[Word]:
    """The words of ``text`` with the tag and entity of the spaCy token each begins in."""
    ends = [(token.idx + len(token), token) for token in tokens]
    at = 0
    for match in WORD.finditer(text):
        while at < len(ends) - 1 and ends[at][0] <= match.start():
            at += 1
        token = ends[at][1]
        length = len(PART.sub("", match[0]))
        if length:
            counted = text[match.end() : match.end() + 2].strip().isdigit()
            yield Word(match[0][:length], match.start(), match.start() + length, token.tag_, token.ent_type_, counted)


def _capital_tells(text: str, words: Sequence[Word], number: int) -> bool:
    """Whether a capital at this word says more than that a sentence or a line of capitals begins."""
    word = words[number]
    before = text[: word.start].rstrip(" \t\"'“‘(-–")
    if not before or before[-1] in ".!?:\n>…;":
        return False
    near = words[max(0, number - 3) : number + 4]
    plain = sum(not each.capital for each in near)
    return plain >= 2 or len(near) < 3
