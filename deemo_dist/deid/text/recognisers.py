"""What presidio's own recognisers miss in speech: streets, spoken numbers, handles.

Imported only where a scrubber is built: presidio is heavy. Patterns for e-mail and web addresses are here as well, so
that ``tldextract``, which would look on the network, is never called.
"""

import importlib
import re
from typing import Any

from presidio_analyzer import EntityRecognizer, Pattern, PatternRecognizer

from deemo_dist.deid.text.gazetteer import read_words

_STREET = (
    r"street|road|avenue|lane|drive|boulevard|square|crescent|terrace|alley|parkway|highway|mews|gardens|place|way"
)
_SHORT = r"st\.?|rd\.?|ave\.?|blvd\.?|ln\.?"
_DIGIT = r"(?:zero|oh|one|two|three|four|five|six|seven|eight|nine|double|triple)"
_TEEN = r"(?:ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen)"
_TENS = r"(?:(?:twen|thir|for|fif|six|seven|eigh|nine)ty)"
_NUMBER = (
    rf"(?:\d+[a-z]?|(?:{_TENS}|{_TEEN}|{_DIGIT}|hundred)(?:[\s-]+(?:and\s+)?(?:{_TENS}|{_TEEN}|{_DIGIT}|hundred))*)"
)
_SAYS = r"(?:number|phone|call|code|pin|extension|passport|account|zip|postcode|licence|license|plate)"
_WEB = r"(?:com|org|net|edu|gov|io|tv|co|uk|us|de|fr|es|it|eu|info|biz|me|app|dev)"
_NOT_STREET = r"(?!(?:the|a|an|this|that|my|your|his|her|our|their|every|each|same|main|one|no|in|on|of|to|by)\b)"

_STATE = (
    "a[klrz]|c[aot]|d[ce]|fl|ga|hi|i[adln]|k[sy]|la|m[adeinost]|n[cdehjmvy]|o[hkr]|pa|ri|s[cd]|t[nx]|ut|v[at]|w[aivy]"
)


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
        ("spoken", rf"\b{_DIGIT}(?:[\s,-]+{_DIGIT}){{6,}}\b", 0.8),
        ("announced", rf"(?<=\b{_SAYS}\b(?:\W+\w+){{0,3}}?\W+){_DIGIT}(?:[\s,-]+{_DIGIT}){{2,}}\b", 0.7),
        ("tens", rf"\b(?:{_TENS}(?:[\s-]{_DIGIT})?[\s,]+){{3,}}(?:{_TENS}(?:[\s-]{_DIGIT})?|{_DIGIT})\b", 0.6),
        ("digits", r"(?<![\w.])\+?\(?\d(?:[\s().-]?\d){6,}(?!\w)", 0.7),
        ("date", r"\b\d{1,2}[/.-]\d{1,2}[/.-](?:19|20)?\d{2}\b", 0.6),
    ),
    "EMAIL": (
        ("written", r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b", 1.0),
        ("spoken", rf"\b\w+(?:\s+(?:dot|underscore|dash)\s+\w+)*\s+at\s+\w+(?:\s+dot\s+\w+)*\s+dot\s+{_WEB}\b", 0.9),
    ),
    "URL": (
        ("written", rf"\b(?:https?://\S+|www\.\S+|[\w-]+(?:\.[\w-]+)*\.{_WEB}(?:/\S*)?)\b", 0.8),
        ("spoken", rf"\b(?:www\s+dot\s+)?\w+\s+dot\s+{_WEB}\b", 0.7),
    ),
    "HANDLE": (
        ("written", r"(?<![\w.])@\w[\w.]*\w", 0.9),
        (
            "announced",
            r"(?<=\bhandle is )\S+|(?<=\busername is )\S+|(?<=\binstagram is )\S+|(?<=\btwitter is )\S+",
            0.7,
        ),
        ("spoken", r"\bat\s+\w+\s+underscore\s+\w+\b", 0.8),
    ),
}


def pattern_recognisers() -> list[EntityRecognizer]:
    """One recogniser for each kind in ``PATTERNS``."""
    return [
        PatternRecognizer(
            supported_entity=entity,
            name=f"deemo {entity.lower()}",
            patterns=[Pattern(name=name, regex=regex, score=score) for name, regex, score in rows],
            global_regex_flags=re.IGNORECASE,
        )
        for entity, rows in PATTERNS.items()
    ]


def english_lemmas(nlp: Any) -> frozenset[str]:
    """Lemmas of English that the spaCy model ships (WordNet's index), and the forms that no rule makes (went, men)."""
    lookups = nlp.get_pipe("lemmatizer").lookups
    tables = [lookups.get_table(name).values() for name in ("lemma_index", "lemma_exc")]
    return frozenset(word for table in tables for words in table for word in words)
