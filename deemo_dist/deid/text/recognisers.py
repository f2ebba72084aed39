"""What presidio's own recognisers miss in speech: streets, dates, numbers of papers, handles, and what is
said in words.

Imported only where a scrubber is built: presidio is heavy. Patterns for e-mail and web addresses are here as well, so
that ``tldextract``, which would look on the network, is never called.
"""

import importlib
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any

import regex
from presidio_analyzer import EntityRecognizer, Pattern, PatternRecognizer, RecognizerResult
from presidio_analyzer.nlp_engine import NlpArtifacts
from presidio_analyzer.predefined_recognizers import IbanRecognizer
from presidio_analyzer.predefined_recognizers.generic.iban_recognizer import REGEX_TIMEOUT_SECONDS

from deemo_dist.deid.text import contacts
from deemo_dist.deid.text.gazetteer import gazetteer, read_words
from deemo_dist.deid.text.letters import LETTER
from deemo_dist.deid.text.said import DIGIT, TEEN, TENS, emails, numbers
from deemo_dist.errors import DeidError

SECONDS = 60.0  # that one pattern may take

_STREET = (
    r"street|road|avenue|lane|drive|boulevard|square|crescent|terrace|alley|parkway|highway|mews|gardens|place|way"
)
_SHORT = r"st\.?|rd\.?|ave\.?|blvd\.?|ln\.?"
_DIGIT = rf"(?:{DIGIT}|double|triple)"
_NUMBER = (
    rf"(?:\d+[a-z]?|(?:{TENS}|{TEEN}|{_DIGIT}|hundred)(?:[\s-]+(?:and\s+)?(?:{TENS}|{TEEN}|{_DIGIT}|hundred)){{0,9}})"
)
_SAYS = r"(?:number|phone|call|code|pin|extension|passport|account|zip|postcode|licence|license|plate)"
_NOT_STREET = r"(?!(?:the|a|an|this|that|my|your|his|her|our|their|every|each|same|main|one|no|in|on|of|to|by)\b)"

_JOINED = re.compile(rf"(?<![\w@.\[]){LETTER}+(?:_{LETTER}+)+(?![\w\]])")

_STATE = (
    "a[klrz]|c[aot]|d[ce]|fl|ga|hi|i[adln]|k[sy]|la|m[adeinost]|n[cdehjmvy]|o[hkr]|pa|ri|s[cd]|t[nx]|ut|v[at]|w[aivy]"
)

_MONTH = (
    r"(?:january|february|march|april|may|june|july|august|september|october|november|december|"
    r"(?:jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)\.?)"
)
_ORDINAL = (
    r"(?:(?:twenty|thirty)[\s-])?(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth)|tenth|eleventh|twelfth|"
    r"(?:thir|four|fif|six|seven|eigh|nine)teenth|twentieth|thirtieth"
)
_DAY = rf"(?:\d{{1,2}}(?:st|nd|rd|th)?|{_ORDINAL}|{TENS}[\s-]{DIGIT}|{TEEN}|{DIGIT})"
_LAST = rf"(?:{TENS}(?:[\s-]{DIGIT})?|{TEEN}|oh[\s-]{DIGIT})"
_YEAR = rf"(?:(?:19|20)\d{{2}}|(?:nineteen|twenty)[\s-]{_LAST}|two\s+thousand(?:\s+(?:and\s+)?(?:{_LAST}|{DIGIT}))?)"
_PAPERS = (
    r"(?:passport|visa|id|identity|case|file|docket|student|matriculation|patient|member(?:ship)?|employee|staff|badge|"
    r"account|customer|reference|booking|ticket|policy|insurance|licen[cs]e|plate|registration|serial|vin|tax|permit)"
)
_GAP = r"\W{1,9}"  # no longer: patterns look back from every character
_LEADING = rf"(?:{_GAP}(?:number|no|nr|id|code|card|plate|is|was|it|its|my|the)\b){{0,4}}"
_THREE_DIGITS = r"(?:(?:[^\W\d]|-){0,40}\d){3}"
_PLATFORM = r"(?:handle|username|instagram|insta|twitter|tiktok|snapchat|discord|skype|telegram|twitch)"
_ALIAS = r"[^\s,;!?]*\w(?:\s+(?:underscore|dot|dash|hash)\s+\w+)*(?:\s+[a-z0-9](?!\w))?"


def _suffixes(without: frozenset[str] = frozenset()) -> str:
    """The words that end a street's name in the United States (Faker has the list of the postal service)."""
    provider = importlib.import_module("faker.providers.address.en_US").Provider
    chosen = set(provider.street_suffixes) - without
    return "|".join(sorted(map(re.escape, chosen), key=lambda word: (-len(word), word)))


PATTERNS: dict[str, tuple[tuple[str, str, float], ...]] = {
    "ADDRESS": (
        ("numbered", rf"\b{_NUMBER},?\s+(?:[a-z][\w']*\s+){{1,3}}?(?:{_STREET}|{_SHORT})(?=\W|$)", 0.8),
        ("named", r"\b(?-i:(?:[A-Z][\w']+\s+){1,3}(?:Street|Road|Avenue|Lane|Drive|Boulevard|Square|Crescent))\b", 0.7),
        ("spoken", rf"\b{_NOT_STREET}[a-z][a-z']+\s+(?:street|avenue|boulevard|crescent)\b", 0.5),
        ("postcode", r"\b(?-i:[A-Z]{1,2}\d[A-Z\d]?\s*\d[A-Z]{2})\b", 0.7),
        ("zip", rf"(?:(?<=\bzip )|(?<=\bzip: )|(?<=\bcode is )|\b(?:{_STATE})\s+)\d{{5}}(?:-\d{{4}})?\b", 0.7),
        ("unit", r"\b(?:apt|apartment|suite|unit|flat|box|psc)\.?\s+\d+[a-z]?\b", 0.6),
        ("forces", r"\b(?-i:[AFD]PO\s+A[AEP]\s+\d{5})\b", 0.8),
        ("house", rf"\b\d{{3,6}}\s+(?:[a-z][\w'-]+\s+){{1,2}}?(?:{_suffixes(read_words('not_streets'))})\b", 0.6),
        ("suffixed", rf"\b\d{{1,6}}\s+(?-i:(?:[A-Z][\w'-]+\s+){{1,3}}(?:{_suffixes()}))\b", 0.7),
    ),
    "NUMBER": (
        ("announced", rf"(?<=\b{_SAYS}\b(?:\W+\w+){{0,3}}?\W+){_DIGIT}(?:[\s,-]+{_DIGIT}){{2,}}\b", 0.7),
        ("digits", contacts.DIGITS, 0.7),
        ("date", r"\b\d{1,2}[/.-]\d{1,2}[/.-](?:19|20)?\d{2}\b", 0.6),
        ("day first", rf"\b(?:the\s+)?{_DAY}(?:\s+of)?\s+{_MONTH},?\s+(?:in\s+)?{_YEAR}\b", 0.7),
        ("month first", rf"\b{_MONTH}\s+(?:the\s+)?{_DAY},?\s+(?:of\s+|in\s+)?{_YEAR}\b", 0.7),
        ("papers", rf"(?<=\b{_PAPERS}\b{_LEADING}{_GAP})(?={_THREE_DIGITS})[a-z0-9]+(?:-[a-z0-9]+)*(?!\w)", 0.7),
        (
            "plate",
            rf"(?<=\b(?:plates?|registration)\b{_LEADING}{_GAP})(?:[a-z]{{1,3}}[\s-])+\d{{1,4}}[a-z]{{0,3}}\b",
            0.7,
        ),
        ("german plate", r"\b(?-i:[A-ZÄÖÜ]{1,3}-[A-Z]{1,2}\s?\d{1,4}[EH]?)\b", 0.6),
        ("british plate", r"\b(?-i:[A-Z]{2}\d{2}\s?[A-Z]{3})\b", 0.6),
        ("mixed", r"\b(?=(?:[a-z0-9]*\d){5})(?=[a-z0-9]*[a-z])[a-z0-9]{7,}\b", 0.6),
    ),
    "EMAIL": (
        ("written", contacts.EMAIL, 1.0),
        ("bracketed", contacts.BRACKETED, 1.0),
    ),
    "URL": (
        ("written", contacts.URL, 0.8),
        (
            "spoken",
            rf"\b\w+(?:\s+(?:dot|dash|underscore)\s+\w+){{0,9}}\s+dot\s+{contacts.WEB}(?:\s+dot\s+{contacts.WEB})*\b",
            0.7,
        ),
    ),
    "HANDLE": (
        ("written", contacts.HANDLE, 0.9),
        ("announced", rf"(?<=\b{_PLATFORM}(?:\s+(?:user)?(?:name|handle|account|id))?\s+is\s+(?:at\s+)?){_ALIAS}", 0.7),
        ("numbered", r"(?<![\w@.\[])(?:u/\w+|(?=\w*_)(?=\w*[a-z])(?=\w*\d)\w{5,})(?![\w\]])", 0.6),
        ("spoken", r"\bat\s+\w+\s+underscore\s+\w+\b", 0.8),
    ),
}


class Searched:
    """A pattern as presidio runs it, but that what takes longer than ``SECONDS`` is refused: presidio would go on
    without the pattern, and leave what it had found in the text."""

    def __init__(self, pattern: str, flags: int) -> None:
        self._compiled = regex.compile(pattern, flags=flags)

    def finditer(self, text: str, timeout: float | None = None) -> Iterator[Any]:
        """The matches in ``text``, within ``SECONDS``. Raises ``DeidError`` (stage transcript)."""
        try:
            yield from self._compiled.finditer(text, timeout=SECONDS)
        except TimeoutError as error:
            raise _too_slow() from error


class StrictIbanRecogniser(IbanRecognizer):
    """Presidio's, which compiles its own patterns: refused where it took as long as leaves one out."""

    def analyze(self, *args: Any, **options: Any) -> list[RecognizerResult]:
        """As presidio has it. Raises ``DeidError`` (stage transcript)."""
        started = time.monotonic()
        found: list[RecognizerResult] = super().analyze(*args, **options)
        if time.monotonic() - started >= min(SECONDS, REGEX_TIMEOUT_SECONDS):
            raise _too_slow()
        return found


def _too_slow() -> DeidError:
    return DeidError(
        f"a text of the clip took longer than {SECONDS:g} s to be searched by one pattern",
        stage="transcript",
        reason="too_slow",
    )


def made_strict(recognisers: Iterable[EntityRecognizer]) -> list[EntityRecognizer]:
    """The same recognisers, their patterns :class:`Searched`: what takes too long rejects the clip."""
    found = list(recognisers)
    for recogniser in found:
        for pattern in getattr(recogniser, "patterns", None) or ():
            flags = recogniser.global_regex_flags  # type: ignore[attr-defined]
            pattern.compiled_regex, pattern.compiled_with_flags = Searched(pattern.regex, flags), flags
    return found


class SaidRecogniser(EntityRecognizer):
    """Addresses and numbers that are said in words."""

    def __init__(self) -> None:
        super().__init__(supported_entities=["EMAIL", "NUMBER"], name="deemo said")

    def load(self) -> None:
        """Nothing to load."""

    def analyze(self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts) -> list[RecognizerResult]:
        """Spans of addresses and numbers in ``text``."""
        found = {"EMAIL": emails(text), "NUMBER": numbers(text)}
        return [RecognizerResult(kind, *place, 0.9) for kind, places in found.items() for place in places]


class JoinedRecogniser(EntityRecognizer):
    """Handles of words joined by underscores, one of which can be a name (will_young, not audio_cues)."""

    def __init__(self) -> None:
        super().__init__(supported_entities=["HANDLE"], name="deemo joined")
        lists = gazetteer()
        self._names = lists.sure | lists.likely | lists.ambiguous

    def load(self) -> None:
        """Nothing to load."""

    def analyze(self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts) -> list[RecognizerResult]:
        """Spans of such handles in ``text``."""
        found = (match for match in _JOINED.finditer(text) if self._names.intersection(match[0].lower().split("_")))
        return [RecognizerResult("HANDLE", *match.span(), 0.7) for match in found]


def pattern_recognisers() -> list[EntityRecognizer]:
    """One recogniser for each kind in ``PATTERNS``, one for what is said in words, one for words that are joined."""
    patterns = [
        PatternRecognizer(
            supported_entity=entity,
            name=f"deemo {entity.lower()}",
            patterns=[Pattern(name=name, regex=regex, score=score) for name, regex, score in rows],
            global_regex_flags=re.IGNORECASE,
        )
        for entity, rows in PATTERNS.items()
    ]
    return [*patterns, SaidRecogniser(), JoinedRecogniser()]


def english_lemmas(nlp: Any) -> frozenset[str]:
    """Lemmas of English that the spaCy model ships (WordNet's index), and the forms that no rule makes (went, men)."""
    lookups = nlp.get_pipe("lemmatizer").lookups
    tables = [lookups.get_table(name).values() for name in ("lemma_index", "lemma_exc")]
    return frozenset(word for table in tables for words in table for word in words)
