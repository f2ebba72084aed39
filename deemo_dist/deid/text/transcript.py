"""Names, places and numbers out of transcripts and free texts, replaced by typed placeholders.

``[PERSON_1]`` is the same person throughout one clip, transcript and texts alike, and another one in the next clip.
Emotion words that are also names (joy, hope, grace) stay where they are used as words. Nothing here logs text.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from deemo_dist.deid.text.broken import digits_beside, mailboxes, remainders
from deemo_dist.deid.text.engine import load_engine
from deemo_dist.deid.text.gazetteer import COMMON, EMOTIONS, gazetteer, read_words
from deemo_dist.deid.text.known import INTRODUCED, KnownNames, begins_sentence, composed
from deemo_dist.deid.text.letters import LETTER, WORD, can_be_read, is_foreign
from deemo_dist.deid.text.spelled import letters_of, spelled
from deemo_dist.deid.text.vocabulary import counts
from deemo_dist.errors import DeidError

ENTITIES = ("PERSON", "LOCATION", "ORGANIZATION", "ADDRESS", "NUMBER", "EMAIL", "URL", "HANDLE")
UNSURE = "UNSURE"  # words as Whisper heard them that may be a name
ALIASES = {
    "EMAIL_ADDRESS": "EMAIL", "PHONE_NUMBER": "NUMBER", "CREDIT_CARD": "NUMBER", "IBAN_CODE": "NUMBER",
    "IP_ADDRESS": "NUMBER", "US_SSN": "NUMBER", "UK_NHS": "NUMBER", "MAC_ADDRESS": "NUMBER", "CRYPTO": "NUMBER",
}  # fmt: skip
NAMED = ("PERSON", "LOCATION", "ORGANIZATION")
CONTRACTED = re.compile(r"(?:n['’]t|['’](?:m|re|ve|ll|d))$")
GREETINGS = frozenset(("ask", "dear", "hello", "hey", "hi", "thank", "thanks"))
FOUND = (*ENTITIES, "NAME")
RANK = {UNSURE: -1, "NAME": 0, "ORGANIZATION": 1}
PLACEHOLDER = re.compile(rf"\[(?:{'|'.join((*ENTITIES, UNSURE))})_(\d{{1,6}})\]")
NUMBERS = ("[NUMBER_", f"[{UNSURE}_")
GENERIC = read_words("generic")
LONGEST = 200_000
FREQUENT, RARE = 20_000_000, 3_000_000


@dataclass(frozen=True)
class Scrubbed:
    """``transcript`` and ``texts`` after scrubbing; ``entities``: mentions replaced."""

    transcript: str | None
    texts: dict[str, str]
    entities: int


@dataclass
class Placeholders:
    """Numbers for what was found in one clip: the same thing gets the same number, a first name that of the full one.

    ``taken``: the highest number of a placeholder that stood in the raw text already.
    """

    taken: int = 0
    _numbers: dict[str, list[frozenset[str]]] = field(default_factory=dict)

    def of(self, kind: str, mention: str) -> str:
        """The placeholder of ``mention``."""
        whole = [*spelled(mention)] == [(0, len(mention))]
        plain = letters_of(mention) if whole else re.sub(r"['’]s\b", "", mention.lower())
        words = frozenset(re.findall(r"\w+", plain))
        known = self._numbers.setdefault(kind, [])
        for number, other in enumerate(known):
            if words == other or (kind == "PERSON" and words and (words <= other or other <= words)):
                known[number] = words | other
                return f"[{kind}_{self.taken + number + 1}]"
        known.append(words)
        return f"[{kind}_{self.taken + len(known)}]"


Span = tuple[int, int, str]


class Scrubber:
    """Loads spaCy and presidio once. Sentence-free: the parser is not needed and not loaded."""

    def __init__(self, *, threshold: float = 0.35) -> None:
        self._threshold = threshold
        self._engine, self._vocabulary = load_engine()
        self._smallest = (self._vocabulary.small | GREETINGS) - gazetteer().ambiguous

    def __call__(
        self, transcript: str | None, texts: Mapping[str, str], *, known: Iterable[str] = (), drop: bool = False
    ) -> Scrubbed:
        """Scrub a clip's transcript and texts together. ``known``: raw names to remove wherever they stand (the
        subject's). ``drop``: leave the transcript out altogether, as all that is mostly not in Latin letters is left
        out: names in it cannot be told. Raises ``DeidError`` (stage transcript)."""
        kept = None if drop or transcript is None or not can_be_read(transcript) else composed(transcript)
        texts = {name: text for name, text in texts.items() if can_be_read(text)}
        sources = ([kept] if kept is not None else []) + [composed(text) for text in texts.values()]
        spans = self.find(sources, known)
        done = replace_all(sources, spans)
        rest = done[1:] if kept is not None else done
        return Scrubbed(
            transcript=done[0] if kept is not None else None,
            texts=dict(zip(texts, rest, strict=True)),
            entities=sum(len(found) for found in spans),
        )

    def find(self, sources: Sequence[str], known: Iterable[str] = ()) -> list[list[Span]]:
        """The spans to be replaced in each of a clip's texts: (start, end, kind), ascending, none overlapping.

        A person found in one text is looked for in the others. Raises ``DeidError`` (stage transcript) for texts of
        more than 200,000 characters.
        """
        if sum(len(source) for source in sources) > LONGEST:
            raise DeidError("the texts of the clip are too long to be read", stage="transcript", reason="too_long")
        spans = [self._spans(source) for source in sources]
        named = [merged(found) for found in spans]
        names = {word for word in _names(sources, named) if not self._is_frequent(word)}
        people = self.known(known)
        return [
            merged([*found, *_repeated(source, names), *_of_known(source, people)])
            for source, found in zip(sources, spans, strict=True)
        ]

    def known(self, names: Iterable[str]) -> KnownNames:
        """What finds ``names`` in texts, by the lists of words of this scrubber."""
        return KnownNames(names, self._is_used, self.is_smallest)

    def is_smallest(self, word: str) -> bool:
        """Whether lower-case ``word`` is one of the smallest of English (the, so, do) and no name."""
        return word in self._smallest

    def _spans(self, text: str) -> list[Span]:
        """What the recognisers find outside old placeholders, common words left out, and the rest of broken numbers."""
        if not text.strip():
            return []
        read = text.lower() if text.isupper() and len(text.lower()) == len(text) else text
        results = self._engine.analyze(text=read, language="en", score_threshold=self._threshold)
        old = list(PLACEHOLDER.finditer(text))
        places = [match.span() for match in old]
        numbers = [match.span() for match in old if match[0].startswith(NUMBERS)]
        found: list[Span] = [(*place, "NUMBER") for place in digits_beside(text, numbers)]
        found += [(*place, "EMAIL") for place in mailboxes(text, places)]
        for item in results:
            kind, whole = ALIASES.get(item.entity_type, item.entity_type), (item.start, item.end)
            if kind not in FOUND:
                continue
            for place in remainders(text, whole, places):
                if item.score >= INTRODUCED and kind == "PERSON" and place == whole:
                    found.append((*place, kind))
                elif not _is_word(text[slice(*place)], kind) and (kept := self._trimmed(text, (*place, kind))):
                    found.append(kept)
        return found

    def _trimmed(self, text: str, span: Span) -> Span | None:
        """The span without common words at its ends (the, dear, early), but for a first name that is one (Will Young);
        None where it has none but the smallest."""
        start, end, kind = span
        words = list(re.finditer(rf"(?:{LETTER}|\d)+(?:['’.-]+(?:{LETTER}|\d)+)*", text[start:end]))
        if kind not in NAMED:
            return span
        if all(word[0].lower() in self._smallest for word in words):
            return None
        kept = [word for word in words if not self._is_common(word[0])]
        if not kept:
            return span
        first, last = kept[0].start(), kept[-1].end()
        if kind == "PERSON" and self._is_first_name(words[0][0], begins_sentence(text, start)):
            first = 0
        return start + first, end if kept[-1] is words[-1] else start + last, kind

    def _is_first_name(self, word: str, begins: bool) -> bool:
        """A given name with a capital, or, within a sentence, any word that is a name as well."""
        lists = gazetteer()
        return word.istitle() and word.lower() in (lists.given if begins else lists.given | lists.ambiguous)

    def _is_used(self, word: str) -> bool:
        """A word of English that is more often a word than somebody's name."""
        return self._vocabulary.is_word(word) and self._vocabulary.count(word) >= RARE

    def _is_frequent(self, word: str) -> bool:
        """A part of a name that is too common a word to be looked for elsewhere."""
        return word in self._vocabulary.small or (
            self._vocabulary.count(word) > FREQUENT and self._vocabulary.is_word(word)
        )

    def _is_common(self, word: str) -> bool:
        """Of everyday, however it is written; or written small, and English."""
        lower = word.lower()
        return (
            lower in self._vocabulary.small or lower in GREETINGS or (word.islower() and self._vocabulary.is_word(word))
        )


def forget_lists() -> None:
    """Let go of the lists of words and names that every scrubber shares: the next one reads them again."""
    gazetteer.cache_clear()
    counts.cache_clear()


def replace_all(sources: Sequence[str], spans: Sequence[Sequence[Span]]) -> list[str]:
    """A clip's texts with their spans replaced by placeholders, numbered through all of them."""
    placeholders = Placeholders(taken=max((int(n) for text in sources for n in PLACEHOLDER.findall(text)), default=0))
    return [replaced(source, found, placeholders) for source, found in zip(sources, spans, strict=True)]


def _is_word(mention: str, kind: str) -> bool:
    """A single lower-case common or emotion word is no name."""
    return kind in ("PERSON", "LOCATION", "ORGANIZATION") and mention.islower() and mention in COMMON | EMOTIONS


def _names(sources: Sequence[str], spans: Sequence[list[Span]]) -> set[str]:
    """Words of all persons found, to be removed from every text of the clip."""
    found = (
        source[start:end]
        for source, rows in zip(sources, spans, strict=True)
        for start, end, kind in rows
        if kind == "PERSON"
    )
    return {word for mention in found for word in _name_words(mention)}


def _name_words(name: str) -> set[str]:
    """Words of a name that are telling by themselves: three letters or more, spelled ones too, not common English."""
    long = {word for word in re.findall(WORD, name.lower()) if len(word) > 2 or (is_foreign(word) and len(word) > 1)}
    words = long | {letters_of(name[start:end]) for start, end in spelled(name)}
    return words - COMMON - EMOTIONS - GENERIC


def _repeated(text: str, names: set[str]) -> list[Span]:
    if not names:
        return []
    pattern = re.compile(rf"(?<!{LETTER})(?:{'|'.join(sorted(map(re.escape, names)))})(?!{LETTER})", re.IGNORECASE)
    return [(*match.span(), "PERSON") for match in pattern.finditer(text)]


def _of_known(text: str, people: KnownNames) -> list[Span]:
    """Where ``text`` says known names; a placeholder of an earlier scrubbing is none (the subject person_1)."""
    return [
        (start, end, "PERSON")
        for start, end in people.places(text)
        if not PLACEHOLDER.fullmatch(text, max(0, start - 1), end + 1)
    ]


def merged(spans: Iterable[Span]) -> list[Span]:
    """Overlapping spans joined into one, and neighbouring persons too; the kind is that of the longest part, an
    organisation only where nothing surer claims the place, and a name of no known kind is a person's."""
    groups: list[list[Span]] = []
    reach = -1
    for span in sorted(spans):
        near = groups and (
            span[0] < reach or (span[0] == reach + 1 and {span[2], groups[-1][-1][2]} <= {"PERSON", "NAME"})
        )
        if near:
            groups[-1].append(span)
        else:
            groups.append([span])
            reach = -1
        reach = max(reach, span[1])
    return [(group[0][0], max(end for _, end, _ in group), _kind(group)) for group in groups]


def _kind(group: list[Span]) -> str:
    kind = max(group, key=lambda span: (RANK.get(span[2], 2), span[1] - span[0]))[2]
    return "PERSON" if kind == "NAME" else kind


def replaced(text: str, spans: Sequence[Span], placeholders: Placeholders) -> str:
    """``text`` with each span replaced; spans are ascending and do not overlap."""
    parts, at = [], 0
    for start, end, kind in spans:
        parts += [text[at:start], placeholders.of(kind, text[start:end])]
        at = end
    return "".join([*parts, text[at:]])
