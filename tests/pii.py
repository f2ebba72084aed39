"""Sentences with planted names, addresses and numbers, and how many of them the scrubber finds. For tests and benches.

Templates are presidio-evaluator's and spoken ones of ours; the names come from locales that the gazetteer does not
have, and of these only names that are not in its lists by another locale either. Names that are English words (Will,
Hope, Young) are planted apart, as the *hard* ones. Templates and names are cut in two halves: recognisers are tuned on
``dev`` alone, figures are those of ``held``.
"""

import importlib
import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, Protocol

from deemo_dist.deid.text.gazetteer import ENGLISH, LOCALES, gazetteer
from deemo_dist.weights import fetch

Half = Literal["dev", "held"]
UNSEEN = (
    "az_AZ", "de_AT", "de_CH", "de_LI", "de_LU", "en_KE", "en_NG", "en_PK", "en_TH", "es_AR", "es_CL", "es_CO",
    "fr_BE", "fr_CA", "fr_CH", "fr_DZ", "ga_IE", "ha_NG", "id_ID", "ig_NG", "is_IS", "lt_LT", "lv_LV", "nl_BE",
    "sk_SK", "sl_SI", "sw", "tw_GH", "uz_UZ", "vi_VN", "yo_NG", "zu_ZA",
)  # fmt: skip
FIRST = ("first_names", "first_names_male", "first_names_female")
KINDS = {
    "PERSON": {"person", "name", "name_male", "name_female", "first_name", "first_name_male", "first_name_female",
               "first_name_nonbinary", "last_name", "last_name_male", "last_name_female"},
    "LOCATION": {"city", "country", "state", "state_abbr"},
    "ADDRESS": {"address", "street_name", "building_number", "secondary_address", "postcode", "zipcode"},
    "ORGANIZATION": {"organization"},
    "NUMBER": {"phone_number", "credit_card_number", "iban", "ssn", "us_driver_license", "ip_address"},
    "EMAIL": {"email"},
    "URL": {"url", "domain_name"},
}  # fmt: skip
KIND_OF = {slot: kind for kind, slots in KINDS.items() for slot in slots}
# Names of works and bodies that stand in presidio-evaluator's templates themselves: neither planted nor other words.
STANDING = re.compile(
    "|".join(
        ("Metallica", "Zoolander", "Border Force", "European Union", "ABC Business", "Cautionary Tales", "Fuse TV",
         r"Guilty Pleasures[^(]*\(But Secretly Love\)", "Civil Rights Act", "White Stripes", "Entertainment Weekly",
         "The Big Three Killed My Baby", "Blink-182", "Dimensions of a Shadow", "Tube Snake Boogie", "Princess Royal",
         "Carry Me Back To", "Salesperson of the Month")
    ),
    re.IGNORECASE,
)  # fmt: skip
FULL_DATE = re.compile(r"[A-Z][a-z]+ \d{1,2}, \d{4}")  # a day with its year may be somebody's: removed, no other words
SPOKEN = Path(__file__).parent / "spoken_templates.txt"


@dataclass(frozen=True)
class Planted:
    """A mention: its place in the sentence and what it is (PERSON, LOCATION ...)."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True)
class Sentence:
    """A filled template; everything outside ``planted`` is other words. ``source``: ``presidio`` or ``spoken``."""

    text: str
    planted: tuple[Planted, ...]
    source: str


@dataclass(frozen=True)
class Tally:
    """``found`` of ``total``; ``low`` and ``high``: Wilson's 95 % interval of the share."""

    found: int
    total: int

    @property
    def share(self) -> float:
        return self.found / self.total if self.total else float("nan")

    @property
    def low(self) -> float:
        return self._bound(-1)

    @property
    def high(self) -> float:
        return self._bound(1)

    def _bound(self, side: int, z: float = 1.959964) -> float:
        n, p = self.total, self.share
        spread = z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
        return (p + z * z / (2 * n) + side * spread) / (1 + z * z / n)


@lru_cache(maxsize=4)
def names(half: Half, hard: bool = False) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Given and family names of one half, unknown to the gazetteer; ``hard``: those of English speakers that it knows
    as words."""
    assert not set(UNSEEN) & set(LOCALES)
    lists = gazetteer()
    seen = lists.sure | lists.likely | lists.ambiguous
    wanted = lists.ambiguous.__contains__ if hard else lambda name: name not in seen
    first, last = set[str](), set[str]()
    for locale in ENGLISH if hard else UNSEEN:
        provider = importlib.import_module(f"faker.providers.person.{locale}").Provider
        for attribute in FIRST:
            first |= _plain(getattr(provider, attribute, ()), wanted)
        last |= _plain(getattr(provider, "last_names", ()), wanted)
    rows = (sorted(first), sorted(last))
    for row in rows:
        random.Random(7).shuffle(row)
    cut = slice(0, None, 2) if half == "dev" else slice(1, None, 2)
    return tuple(rows[0][cut]), tuple(rows[1][cut])


def _plain(found: object, wanted: Callable[[str], bool]) -> set[str]:
    """Single Latin words of three letters or more that are ``wanted`` (lower-case)."""
    words = [str(name).strip() for name in found] if isinstance(found, Iterable) else []
    return {word for word in words if re.fullmatch(r"[A-ZÀ-Þ][a-zà-ɏḀ-ỿ]{2,}", word) and wanted(word.lower())}


@lru_cache(maxsize=2)
def templates(half: Half) -> tuple[tuple[str, str], ...]:
    """(source, template) of one half, every second one."""
    theirs = fetch("pii-templates").read_text(encoding="utf-8-sig").splitlines()
    ours = [line for line in SPOKEN.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    rows = [("presidio", line.replace("\\n", "\n")) for line in theirs if line.strip()]
    rows = [*dict.fromkeys(rows), *(("spoken", line) for line in ours)]
    random.Random(11).shuffle(rows)
    return tuple(rows[0::2] if half == "dev" else rows[1::2])


def sentences(
    half: Half, *, fills: int = 3, source: str | None = None, seed: int = 0, hard: bool = False
) -> list[Sentence]:
    """Every template of a half filled ``fills`` times; ``hard``: with names that are words."""
    from faker import Faker

    rng = random.Random(f"{half}{seed}")
    fake = Faker("en_US")
    fake.seed_instance(rng.randrange(2**32))
    rows = [row for row in templates(half) if source in (None, row[0])]
    return [_filled(*row, names(half, hard), rng, fake) for _ in range(fills) for row in rows]


Names = tuple[tuple[str, ...], tuple[str, ...]]


def _filled(source: str, template: str, people: Names, rng: random.Random, fake: object) -> Sentence:
    text, planted, at = "", [], 0
    for slot in re.finditer(r"\{\{\s*(\w+)\s*\}\}", template):
        text += template[at : slot.start()]
        value = _value(slot[1], people, rng, fake)
        kind = "DATE" if FULL_DATE.fullmatch(value) else KIND_OF.get(slot[1])
        if kind:
            planted.append(Planted(len(text), len(text) + len(value), kind))
        text, at = text + value, slot.end()
        if kind == "ADDRESS" and (rest := re.match(r"\s+(?:St\b\.?|[Ss]treet\b)", template[at:])):
            planted[-1] = Planted(planted[-1].start, len(text) + rest.end(), kind)
    return Sentence(text + template[at:], tuple(planted), source)


def _value(slot: str, people: Names, rng: random.Random, fake: object) -> str:
    """What a slot says; what names nobody (jobs, months, nationalities) is other words."""
    first, last = people
    if slot in KINDS["PERSON"]:
        if slot.startswith("first"):
            return rng.choice(first)
        return rng.choice(last) if slot.startswith("last") else f"{rng.choice(first)} {rng.choice(last)}"
    others = {
        "organization": "company", "nationality": "", "nation_woman": "", "nation_man": "", "nation_plural": "",
        "age": "", "us_driver_license": "", "prefix": "", "prefix_male": "", "prefix_female": "", "url": "url",
        "ip_address": "ipv4", "date_time": "", "date_of_birth": "", "secondary_address": "secondary_address",
    }  # fmt: skip
    fixed = {
        "nationality": ("Danish", "Chilean", "Kenyan", "Swiss"), "nation_woman": ("Irishwoman", "Dutchwoman"),
        "nation_man": ("Irishman",), "nation_plural": ("Danes", "Swedes"), "prefix": ("Mr.", "Ms.", "Dr."),
        "prefix_male": ("Mr.",), "prefix_female": ("Ms.", "Mrs."), "age": ("23", "41", "67"),
        "date_time": ("Tuesday at noon", "March 3, 2021"), "date_of_birth": ("May 4, 1988", "June 1990"),
    }  # fmt: skip
    if slot in fixed:
        return rng.choice(fixed[slot])
    if slot == "us_driver_license":
        return f"{rng.randrange(10**7, 10**8)}"
    return str(getattr(fake, others.get(slot, slot))()).replace("\n", ", ")


def covered(found: Sequence[tuple[int, int, str]], text: str, start: int, end: int) -> bool:
    """Whether every word of two letters or more (and every digit) of a mention is within spans that were found."""
    words = re.finditer(r"[^\W\d_]{2,}|\d+", text[start:end])
    return all(
        any(first <= start + word.start() and start + word.end() <= last for first, last, _ in found) for word in words
    )


class Finder(Protocol):
    """What finds spans in texts: the scrubber, or a peer."""

    def find(self, sources: list[str], /) -> list[list[tuple[int, int, str]]]: ...


def measure(finder: Finder, rows: Sequence[Sentence], *, lower: bool = False) -> dict[str, Tally]:
    """Mentions found by kind, and under ``other`` how many other words were removed."""
    counts: dict[str, list[int]] = {}
    for row in rows:
        text = row.text.lower() if lower else row.text
        assert len(text) == len(row.text)
        (found,) = finder.find([text])
        for mention in row.planted:
            tally = counts.setdefault(mention.kind, [0, 0])
            tally[0] += covered(found, text, mention.start, mention.end)
            tally[1] += 1
        tally = counts.setdefault("other", [0, 0])
        apart = [(each.start, each.end) for each in row.planted] + [each.span() for each in STANDING.finditer(text)]
        for word in re.finditer(r"[^\W_]+(?:['’][^\W_]+)*", text):
            if not any(start < word.end() and word.start() < end for start, end in apart):
                tally[0] += any(start < word.end() and word.start() < end for start, end, _ in found)
                tally[1] += 1
    return {kind: Tally(*tally) for kind, tally in sorted(counts.items())}
