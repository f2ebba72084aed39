"""Doubt spreads from words that are taken out to neighbours that are not quite sure, and no further."""

from hypothesis import given
from hypothesis import strategies as st

from deemo_dist.deid.text.asr import HeardWord
from deemo_dist.deid.text.doubt import NOT_QUITE, OTHERWISE, UNSURE, doubtful

SMALL = frozenset(("and", "the", "of", "a", "with"))


def spoken(*words: tuple[str, float], pause: float = 0.1) -> list[HeardWord]:
    """Words of .3 s, with a pause between."""
    return [
        HeardWord(text, number * (0.3 + pause), number * (0.3 + pause) + 0.3, sure)
        for number, (text, sure) in enumerate(words)
    ]


def left(words: list[HeardWord], named: set[int], asked: set[int] | None = None) -> str:
    muted = doubtful(words, named, range(len(words)) if asked is None else asked, SMALL.__contains__)
    return " ".join(word.text for number, word in enumerate(words) if number not in muted)


def test_a_name_heard_as_several_words_is_muted_whole() -> None:
    words = spoken(("doubles", 0.93), ("with", 0.99), ("Elsa", 0.23), ("and", 0.91), ("the", 0.87), ("cathe", 0.4),
                   ("one", 0.79), ("day", 0.98))  # fmt: skip
    assert left(words, {2}) == "doubles with day"
    assert left(words, {2}, set(range(2, 6))) == "doubles with one day"


def test_neighbours_are_doubted_through_one_another() -> None:
    words = spoken(("to", 0.96), ("bezel", 0.97), ("arm", 0.38), ("either", 0.72), ("of", 0.74), ("out", 0.97))
    assert left(words, set()) == "to bezel out"


def test_words_after_a_pause_are_another_matter() -> None:
    words = spoken(("cathe", 0.2), ("one", 0.7), pause=1.0)
    assert left(words, set()) == "one"
    assert left(spoken(("cathe", 0.2), ("one", 0.7)), set()) == ""


def test_more_than_a_little_between_two_names_stays() -> None:
    words = spoken(("Anna", 0.9), ("and", 0.95), ("then", 0.95), ("Ben", 0.9), ("saw", 0.95), ("the", 0.95),
                   ("old", 0.95), ("Carla", 0.9))  # fmt: skip
    assert left(words, {0, 3, 7}) == "saw the old"


def test_what_the_second_ear_has_otherwise_is_doubted_more() -> None:
    words = spoken(("played", 0.99), ("back", 0.52), ("joke", 0.52), ("again", 0.99))
    assert doubtful(words, (), range(4), SMALL.__contains__) == set()
    assert doubtful(words, (), range(4), SMALL.__contains__, {1}) == {1, 2}


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=12),
    st.sets(st.integers(0, 11)),
    st.sets(st.integers(0, 11)),
    st.sets(st.integers(0, 11)),
)
def test_laws(sure: list[float], named: set[int], asked: set[int], otherwise: set[int]) -> None:
    words = spoken(*(("cathe", probability) for probability in sure))
    named, asked = ({number for number in each if number < len(words)} for each in (named, asked))
    muted = doubtful(words, named, asked, SMALL.__contains__, otherwise)
    assert named <= muted <= named | asked
    assert muted >= doubtful(words, named, asked, SMALL.__contains__)
    assert {number for number in asked if sure[number] < UNSURE} <= muted
    kept = sorted(set(range(len(words))) - muted)
    for number in set(kept) & asked:
        beside = {number - 1, number + 1} & muted
        assert sure[number] * (OTHERWISE if number in otherwise else 1) >= NOT_QUITE or not beside
    assert doubtful(words, muted, asked, SMALL.__contains__, otherwise) >= muted
