"""What presidio's own recognisers miss in speech: streets, spoken numbers, handles, names without capitals, cities.

Imported only where a scrubber is built: presidio is heavy. Patterns for e-mail and web addresses are here as well, so
that ``tldextract``, which would look on the network, is never called.
"""

import re
from typing import Any

from presidio_analyzer import EntityRecognizer, Pattern, PatternRecognizer, RecognizerResult
from presidio_analyzer.nlp_engine import NlpArtifacts

from deemo_dist.deid.text.gazetteer import gazetteer

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

PATTERNS: dict[str, tuple[tuple[str, str, float], ...]] = {
    "ADDRESS": (
        ("numbered", rf"\b{_NUMBER},?\s+(?:[a-z][\w']*\s+){{1,3}}?(?:{_STREET}|{_SHORT})(?=\W|$)", 0.8),
        ("named", r"\b(?-i:(?:[A-Z][\w']+\s+){1,3}(?:Street|Road|Avenue|Lane|Drive|Boulevard|Square|Crescent))\b", 0.7),
        ("spoken", rf"\b{_NOT_STREET}[a-z][a-z']+\s+(?:street|avenue|boulevard|crescent)\b", 0.5),
        ("postcode", r"\b(?-i:[A-Z]{1,2}\d[A-Z\d]?\s*\d[A-Z]{2})\b", 0.7),
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


class NameRecogniser(EntityRecognizer):
    """Names and places by list. A *sure* name counts in any spelling; a *likely* one too, unless ``dictionary`` (lemmas
    of English) has it; the rest only where it is capitalised within a sentence, or tagged as a proper noun."""

    def __init__(self, dictionary: frozenset[str] = frozenset()) -> None:
        super().__init__(supported_entities=["PERSON", "LOCATION"], name="deemo names")
        self._lists = gazetteer()
        self._dictionary = dictionary
        longest = sorted(self._lists.places, key=lambda place: (-len(place), place))
        self._places = re.compile(rf"\b(?:{'|'.join(re.escape(place) for place in longest)})\b", re.IGNORECASE)

    def load(self) -> None:
        """Nothing to load: the lists came with the constructor."""

    def analyze(self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts) -> list[RecognizerResult]:
        """Spans of names and places in ``text``."""
        found = [RecognizerResult("LOCATION", *match.span(), 0.7) for match in self._places.finditer(text)]
        return found + [RecognizerResult("PERSON", *span, 0.6) for span in self._names(nlp_artifacts.tokens)]

    def _names(self, tokens: Any) -> list[tuple[int, int]]:
        spans: list[tuple[int, int]] = []
        for number, token in enumerate(tokens):
            follows = bool(spans) and spans[-1][1] == token.idx - 1
            inside = number > 0 and not tokens[number - 1].is_punct
            if self._is_name(token, follows or inside):
                spans.append((token.idx, token.idx + len(token)))
        return spans

    def _is_name(self, token: Any, telling: bool) -> bool:
        word, capital = token.text.lower(), token.text[:1].isupper()
        when = token.ent_type_ in ("DATE", "TIME", "CARDINAL")
        if word in self._lists.sure:
            return True
        if word in self._lists.likely and not {word, token.lemma_.lower()} & self._dictionary:
            return True
        known = word in self._lists.likely or word in self._lists.ambiguous
        return known and capital and not when and (telling or token.tag_ in ("NNP", "NNPS"))


def english_lemmas(nlp: Any) -> frozenset[str]:
    """Lemmas of English that the spaCy model ships (WordNet's index)."""
    table = nlp.get_pipe("lemmatizer").lookups.get_table("lemma_index")
    return frozenset(lemma for words in table.values() for lemma in words)
