import ast
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deemo_dist.deid.audit import names
from deemo_dist.deid.audit.names import KnownNames, NameReader, contacts_left, names_left
from deemo_dist.deid.text.transcript import Scrubber
from tests import pii

ENGLISH = frozenset(("will", "king", "player", "patient", "marks", "ball"))


def known(*people: str) -> KnownNames:
    return KnownNames(people, ENGLISH.__contains__)


def test_nothing_is_shared_with_what_removes_names() -> None:
    tree = ast.parse(Path(names.__file__).read_text())
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in imported if name.startswith("deemo_dist")} == {"deemo_dist.imports", "deemo_dist.weights"}


def test_names_are_whole_words_and_counted_only_where_they_were() -> None:
    texts = [
        "I am Anna Keller, said Anna.",
        "I am [PERSON_1], said [PERSON_1].",
        "Kellermann knows anna",
        "Kellermann knows anna",
    ]
    assert names_left(known("Anna Keller"), texts) == (4, 1)
    assert names_left(known("X"), ["x marks it", "x marks it"]) == (0, 0)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("Anna Keller", "That is Keller's ball", 1),
        ("Jürgen Müller", "Here is Muller", 1),
        ("Jurgen Muller", "Here is Mu\u0308ller", 1),
        ("LiNa", "Li Na won", 2),
        ("li_na", "Li Na won", 2),
        ("Anna Keller", "see annakeller", 1),
        ("Will King", "I am Will", 1),
        ("Will King", "I will win, she is the king of clay.", 0),
        ("player 12", "Every player wants this.", 0),
        ("patient 7", "Be patient", 0),
    ],
)
def test_a_known_name_is_found_in_any_spelling_and_a_word_is_none(name: str, text: str, words: int) -> None:
    assert names_left(known(name), [text, text]) == (words, words)
    assert names_left(known(name), [text, "[PERSON_1]"]) == (words, 0)


def test_a_word_of_a_name_may_stay_where_it_is_a_word() -> None:
    raw = "I am Will, and I will win."
    assert names_left(known("Will King"), [raw, "I am [PERSON_1], and I will win."]) == (1, 0)
    assert names_left(known("Will King"), [raw, raw]) == (1, 1)


def test_a_name_of_two_people_counts_each_time_that_it_is_said() -> None:
    text = "Keller and Novak, and Keller"
    assert names_left(known("Anna Keller", "Novak Keller"), [text, "Keller and [PERSON_1], and Keller"]) == (3, 2)


@given(st.text(), st.text())
def test_no_more_is_left_than_was_there(raw: str, released: str) -> None:
    for uses in (known("Anna Keller"), lambda text: Counter(text.lower().split())):
        there, left = names_left(uses, [raw, released])
        assert 0 <= left <= there


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("write to anna.k+1@mail.example.com please", 1),
        ("call +49 30 1234567 or (030) 765 43 21", 2),
        ("we won 6-4, 7-6 in 2021, on 12.03.2021", 1),
        ("I paid 1500 for 20 of them", 0),
    ],
)
def test_contacts_are_addresses_and_long_numbers(text: str, found: int) -> None:
    assert contacts_left([text, text]) == (found, found)
    assert contacts_left([text, "[EMAIL_1] [NUMBER_1]"]) == (found, 0)


@pytest.fixture(scope="module")
def reader() -> NameReader:
    return NameReader()


def test_third_persons_are_found_without_a_list(reader: NameReader) -> None:
    raw = "My coach Peter Novak from Prague told me, and I thanked Peter."
    assert names_left(reader, [raw, raw])[1] == 4
    assert names_left(reader, [raw, raw.replace("Peter", "[PERSON_1]")]) == (4, 2)
    assert names_left(reader, ["We met one afternoon and played.", ""]) == (0, 0)


@pytest.mark.slow
def test_the_reader_takes_next_to_no_word_that_the_scrubber_leaves_for_a_name(reader: NameReader) -> None:
    scrubber = Scrubber()
    there = left = found = planted = 0
    for row in pii.sentences("held", fills=2):
        released = str(scrubber(row.text, {}).transcript)
        counts = names_left(reader, [row.text, released])
        there, left = there + counts[0], left + counts[1]
        places = [each for each in row.planted if each.kind in ("PERSON", "LOCATION")]
        words = Counter(word for each in places for word in names._counts(row.text[each.start : each.end]).elements())
        found, planted = found + (words & reader(row.text)).total(), planted + words.total()
    assert there > 250
    assert left <= 0.01 * there
    assert found >= 0.6 * planted
