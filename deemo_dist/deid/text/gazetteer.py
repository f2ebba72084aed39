"""Names and places known by list, for transcripts without capitals: built from Faker's locale data, offline.

A word that is also common English (will, hope, rose) is *ambiguous*: a name only where the grammar says so.
"""

import importlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

LOCALES = (
    "en_US", "en_GB", "en_IE", "en_IN", "en_NZ", "es_ES", "es_MX", "fr_FR", "de_DE", "it_IT", "pt_PT", "pt_BR",
    "nl_NL", "sv_SE", "no_NO", "da_DK", "fi_FI", "pl_PL", "cs_CZ", "hr_HR", "ro_RO", "tr_TR", "et_EE", "hu_HU",
)  # fmt: skip
ENGLISH = ("en_US", "en_GB", "en_IE", "en_NZ")
NAME_LISTS = ("first_names", "first_names_male", "first_names_female")

WORDS = Path(__file__).parent / "words"


def read_words(name: str, separator: str | None = None) -> frozenset[str]:
    """The words of ``words/NAME.txt``, lines that begin with # left out."""
    lines = (WORDS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    rows = (line.split(separator) for line in lines if not line.startswith("#"))
    return frozenset(word.strip() for row in rows for word in row if word.strip())


EMOTIONS = read_words("emotions")
COMMON = read_words("common")
PLACES = read_words("places", ";")
NOT_PLACES = read_words("not_places")


@dataclass(frozen=True)
class Gazetteer:
    """Lower-case words. ``sure``: given names used in English; ``likely``: family names and given names from
    elsewhere, some of which are rarer English words; ``ambiguous``: names that are common English words, of these
    ``given`` names used in English and ``family`` names; ``places``."""

    sure: frozenset[str]
    likely: frozenset[str]
    ambiguous: frozenset[str]
    given: frozenset[str]
    family: frozenset[str]
    places: frozenset[str]


@lru_cache(maxsize=1)
def gazetteer() -> Gazetteer:
    """The lists, built once in a process (about 20,000 names, 700 places)."""
    sure, likely, family = set[str](), set[str](), set[str]()
    for locale in LOCALES:
        provider = importlib.import_module(f"faker.providers.person.{locale}").Provider
        for attribute in NAME_LISTS:
            (sure if locale in ENGLISH else likely).update(_words(getattr(provider, attribute, ())))
        family |= _words(getattr(provider, "last_names", ()))
    likely |= family
    english = {word.lower() for word in importlib.import_module("faker.providers.lorem.en_US").Provider.word_list}
    common = english | COMMON | EMOTIONS
    nicknames = read_words("nicknames")
    ambiguous = ((sure | likely) & common) | EMOTIONS | nicknames
    return Gazetteer(
        sure=frozenset(sure - common - ambiguous),
        likely=frozenset(likely - common - sure - ambiguous),
        ambiguous=frozenset(ambiguous),
        given=frozenset((sure & common) | nicknames),
        family=frozenset((family & common) | EMOTIONS),
        places=PLACES | _faker_places(),
    )


def _words(names: object) -> set[str]:
    """Single words of at least three letters out of a list, a tuple or a mapping of names."""
    parts = (part for name in names for part in re.split(r"[\s\-.]+", str(name).lower()))  # type: ignore[attr-defined]
    return {part for part in parts if len(part) >= 3 and part.isalpha()}


def _faker_places() -> frozenset[str]:
    """Capitals, countries and the cities that name time zones."""
    countries = importlib.import_module("faker.providers.date_time").Provider.countries
    found = {str(item.capital).lower() for item in countries} | {str(item.name).lower() for item in countries}
    zones = (zone for item in countries for zone in item.timezones)
    found |= {str(zone).rsplit("/", 1)[-1].replace("_", " ").lower() for zone in zones}
    return frozenset(place for place in found if len(place) > 3) - NOT_PLACES
