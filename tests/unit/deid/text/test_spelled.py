"""Names that are spelled out, and what only looks like it."""

import pytest

from deemo_dist.deid.text.spelled import letters_of, spelled


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("It's spelled K-O-W-A-L-S-K-I.", "K-O-W-A-L-S-K-I"),
        ("that is O-K-O-N-K-W-O, right", "O-K-O-N-K-W-O"),
        ("it's d-i-a-z", "d-i-a-z"),
        ("it is spelled k o w a l s k i and so on", "k o w a l s k i"),
        ("k. o. w. a. l. s. k. i.", "k. o. w. a. l. s. k. i"),
        ("yes, K, O, W, with a K", "K, O, W"),
        ("capital m a r i a", "capital m a r i a"),
        ("D as in dog, i, a as in apple, z", "D as in dog, i, a as in apple, z"),
        ("me double n e r", "double n e r"),
        ("so M-Ü-L is", "M-Ü-L"),
    ],
)
def test_a_row_of_letters_is_a_name(text: str, row: str) -> None:
    assert [text[start:end] for start, end in spelled(text)] == [row]


@pytest.mark.parametrize(
    "text",
    [
        "in the U.S.A. and the U. S. A. too",
        "I won at 8 P.M. I was happy, at 9 a. m. I was not",
        "the F.B.I. came, the A-T-P and the B B C",
        "I, I, I think and w-w-w-what",
        "a, b, c and x-y-z",
        "so I a I said",
        "the U.S. I know",
        "J.K. was there, t-t-the x-ray",
        "k o I'd say",
    ],
)
def test_abbreviations_stutters_and_the_alphabet_stay(text: str) -> None:
    assert list(spelled(text)) == []


def test_the_letters_make_a_word() -> None:
    assert letters_of("K as in kilo, o, W") == "kow"
