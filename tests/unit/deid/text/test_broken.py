"""Findings that an old placeholder stands in, and what is beside one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deemo_dist.deid.text.broken import digits_beside, mailboxes, remainders
from deemo_dist.deid.text.transcript import PLACEHOLDER

words = st.sampled_from(["Anna", "[PERSON_1]", "0770", " ", "-", "[NUMBER_12]", "x", "", "ß9", ", "])
texts = st.lists(words, max_size=12).map("".join)


def places_of(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in PLACEHOLDER.finditer(text)]


@given(texts, st.integers(0, 60), st.integers(0, 60))
def test_what_remains_is_every_letter_and_digit_outside_the_placeholders_and_nothing_of_them(
    text: str, one: int, other: int
) -> None:
    start, end = sorted((min(one, len(text)), min(other, len(text))))
    old = {place for first, last in places_of(text) for place in range(first, last)}
    rest = list(remainders(text, (start, end), places_of(text)))
    covered = {place for first, last in rest for place in range(first, last)}
    assert not covered & old
    assert {place for place in range(start, end) if text[place].isalnum() and place not in old} <= covered
    assert covered <= set(range(start, end))


def test_a_finding_without_a_placeholder_stays_as_it_is() -> None:
    assert list(remainders(" Anna, [PERSON_1]", (0, 6), [(7, 17)])) == [(0, 6)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0770 [NUMBER_1] 900-123!", ["0770", "900-123"]),
        ("[NUMBER_1]X12345", ["12345"]),
        ("12 [NUMBER_1] 34", []),
        ("in 2019 we paid [NUMBER_1] and 400", []),
        ("1" * 5000 + "x[NUMBER_1]x" + "1" * 5000, ["1" * 79]),  # as quickly as any other
    ],
)
def test_digits_beside_a_number_are_the_rest_of_it(text: str, found: list[str]) -> None:
    assert [text[start:end] for start, end in digits_beside(text, places_of(text))] == found


def test_what_stands_before_an_at_is_a_mailbox() -> None:
    text = "to rose.hill@[URL_1], not at [URL_2]"
    assert [text[start:end] for start, end in mailboxes(text, places_of(text))] == ["rose.hill@"]
