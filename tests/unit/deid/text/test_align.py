"""Given words laid on heard ones: where a name is spoken, and that a name nobody heard right is still covered."""

from hypothesis import given, settings
from hypothesis import strategies as st

from deemo_dist.deid.text.align import aligned, heard_tokens, locate, sound_key, text_tokens, unmatched
from deemo_dist.deid.text.asr import HeardWord


def heard(text: str) -> list[HeardWord]:
    """One word a second, each 0.8 s long."""
    return [HeardWord(word, float(at), at + 0.8, 1.0) for at, word in enumerate(text.split())]


def span_of(text: str, part: str) -> tuple[int, int]:
    return text.index(part), text.index(part) + len(part)


def located(text: str, part: str, words: str) -> tuple[float, float]:
    return locate(text, [span_of(text, part)], heard(words), float(len(words.split())))[0]


def test_a_name_that_was_heard_is_where_it_was_heard() -> None:
    text = "my name is Anna Keller and I play tennis"
    assert located(text, "Anna Keller", "my name is anna kellar and i play tennis") == (3.0, 4.8)


def test_a_name_misheard_is_in_the_gap_between_its_neighbours() -> None:
    text = "yesterday I played Novak Djokovic in the second round"
    assert located(text, "Novak Djokovic", "yesterday i played no back joke of itch in the second round") == (2.8, 8.0)


def test_a_name_that_was_not_heard_at_all_is_still_given_its_gap() -> None:
    words = [HeardWord("i", 0, 0.4, 1), HeardWord("told", 0.5, 0.8, 1), HeardWord("everything", 1.6, 2.2, 1)]
    text = "I told Svetlana everything"
    assert locate(text, [span_of(text, "Svetlana")], words, 3.0) == [(0.8, 1.6)]


def test_a_gap_too_short_for_the_name_takes_its_neighbours_in() -> None:
    assert located("I told Svetlana everything", "Svetlana", "i told everything") == (1.0, 2.8)


def test_a_name_with_a_word_that_no_sound_is_known_of_is_in_its_gap() -> None:
    text = "this is Anna \u674e speaking to you"
    assert located(text, "Anna \u674e", "this is anna lee speaking to you") == (1.8, 4.0)


def test_words_that_nobody_wrote_down_are_told_apart() -> None:
    assert unmatched("thank you, it was great", heard("thank you anna it was great")) == ([2], 1.0)
    assert unmatched("quite another text", heard("completely different")) == ([0, 1], 0.0)
    assert unmatched("", heard("so")) == ([0], 0.0)


def test_without_a_neighbour_the_gap_reaches_to_the_ends() -> None:
    assert located("Svetlana won", "Svetlana", "completely different words here") == (0.0, 4.0)
    assert located("thanks Svetlana", "Svetlana", "thanks sweat lana") == (0.8, 3.0)


def test_a_short_word_that_matches_by_chance_is_no_neighbour() -> None:
    text = "the umpire called Olga a liar in front of a crowd"
    start, end = located(text, "Olga", "a thing i never heard a crowd")
    assert start == 0.0
    assert end >= 5.0


def test_digits_are_heard_as_words_or_as_figures() -> None:
    text = "call five five five one two now please"
    words = [HeardWord("call", 0, 1, 1), HeardWord("555-12", 1, 7, 1), HeardWord("now", 7, 8, 1),
             HeardWord("please", 8, 9, 1)]  # fmt: skip
    ((start, end),) = locate(text, [span_of(text, "five five five one two")], words, 9.0)
    assert 1.0 <= start < 1.1
    assert 6.9 < end <= 7.0
    assert [token.key for token in heard_tokens([HeardWord("42", 0, 1, 1)])] == [sound_key("four"), sound_key("two")]


def test_what_sounds_alike_has_one_key() -> None:
    for one, other in (("Keller", "Kellar"), ("Sarah", "Sara"), ("Philip", "Filip"), ("Nicky", "Niki")):
        assert sound_key(one) == sound_key(other)
    assert sound_key("Keller") != sound_key("Miller")


@given(st.lists(st.sampled_from("abcde"), max_size=12), st.lists(st.sampled_from("abcde"), max_size=12))
@settings(deadline=None)
def test_alignment_is_monotonic_and_true(first: list[str], second: list[str]) -> None:
    found = aligned(first, second)
    places = [place for place in found if place is not None]
    assert places == sorted(set(places))
    assert all(second[place] == key for key, place in zip(first, found, strict=True) if place is not None)
    assert len(places) <= min(len(first), len(second))


@given(st.lists(st.sampled_from("abcde"), max_size=12))
def test_a_text_is_aligned_with_itself(keys: list[str]) -> None:
    assert aligned(keys, keys) == list(range(len(keys)))


def test_tokens_keep_their_places() -> None:
    assert [(token.start, token.end) for token in text_tokens("it's 7 Söder")] == [(0, 4), (5, 6), (7, 12)]
