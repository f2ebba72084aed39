"""Two ears: which words the second one has otherwise, and where it heard a name."""

import re

from hypothesis import given
from hypothesis import strategies as st

from deemo_dist.deid.text.agree import compared
from deemo_dist.deid.text.asr import Again, HeardWord
from deemo_dist.deid.text.transcript import Span


def words(text: str) -> list[HeardWord]:
    return [HeardWord(word, float(at), at + 0.8, 1.0) for at, word in enumerate(text.split())]


def capitals(texts: list[str]) -> list[list[Span]]:
    """Every word that begins with X is a name."""
    return [[(*match.span(), "PERSON") for match in re.finditer(r"\bX\w*", text)] for text in texts]


def test_ears_that_agree_doubt_nothing() -> None:
    first = "we played Kellar, twice in 2019"
    assert compared(words(first), [Again(0, 6, "We played keller twice, in 2019.")], capitals) == (set(), set())
    assert compared([], [], capitals) == (set(), set())


def test_a_word_for_which_the_second_ear_has_others_is_otherwise() -> None:
    otherwise, named = compared(
        words("played with Elsa and the cathe today"), [Again(0, 7, "played with ilsam today")], capitals
    )
    assert otherwise == {2, 3, 4, 5}
    assert named == set()


def test_what_stands_where_the_second_ear_heard_a_name_is_named() -> None:
    again = [Again(0, 7, "played with Xilsa Xmnikathi today")]
    assert compared(words("played with Elsa and the cathe today"), again, capitals)[1] == {2, 3, 4, 5}
    assert compared(words("Xavier won"), [Again(0, 2, "Xavier won")], capitals) == (set(), {0})


def test_a_name_that_only_the_second_ear_has_is_in_the_words_beside_it() -> None:
    def named(first: str, second: str) -> frozenset[int]:
        return compared(words(first), [Again(0, len(first.split()), second)], capitals)[1]

    assert named("it was nothing", "it was nothing Xavier") == {2}
    assert named("it was nothing", "Xavier it was nothing") == {0}
    assert named("it was nothing", "it was Xavier Xu nothing") == {1, 2}
    assert named("it was nothing", "Xavier") == {0, 1, 2}


def test_passages_are_compared_with_their_own_words() -> None:
    again = [Again(0, 2, "I won"), Again(3, 5, "you Xlost")]
    otherwise, named = compared(words("I won well you lost"), again, capitals)
    assert (otherwise, named) == ({4}, {4})


@given(
    st.lists(st.sampled_from(("Xa", "be", "to", "12")), min_size=1, max_size=8),
    st.lists(st.sampled_from(("Xa", "be", "to", "one")), max_size=8),
)
def test_laws(first: list[str], second: list[str]) -> None:
    heard = words(" ".join(first))
    otherwise, named = compared(heard, [Again(0, len(heard), " ".join(second))], capitals)
    assert otherwise | named <= set(range(len(heard)))
    if "Xa" not in second:
        assert not named
    if first == second:
        assert not otherwise
        assert named == {at for at, word in enumerate(first) if word == "Xa"}
    if not second:
        assert otherwise == set(range(len(heard)))
