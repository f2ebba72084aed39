"""Addresses and numbers that are said in words: all of them, and nothing else."""

import pytest

from deemo_dist.deid.text.said import emails, numbers


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("my email is j smith eighty two at hotmail dot co dot uk", "j smith eighty two at hotmail dot co dot uk"),
        (
            "my e-mail is anna dot maria dot keller eighty at gmx dot de",
            "anna dot maria dot keller eighty at gmx dot de",
        ),
        ("it's anna keller at gmail dot com", "anna keller at gmail dot com"),
        ("write to m lopez nineteen eighty four at yahoo dot com", "m lopez nineteen eighty four at yahoo dot com"),
        ("email me, m a r i a at gmail, thanks", "m a r i a at gmail"),
        ("reach me at maria dot gonzalez at gmail dot com", "maria dot gonzalez at gmail dot com"),
        ("k, o, w at gmail dot com", "k, o, w at gmail dot com"),
        ("so I said it. anna_k at my-host.de", "anna_k at my-host.de"),
    ],
)
def test_an_address_is_taken_whole(text: str, address: str) -> None:
    assert [text[start:end] for start, end in emails(text)] == [address]


@pytest.mark.parametrize("text", ["it is at the end of the day, come on", "at home dot dot dot", "I am at one"])
def test_an_at_alone_is_no_address(text: str) -> None:
    assert list(emails(text)) == []


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("call me at six fifty two fifty three ten twenty", "six fifty two fifty three ten twenty"),
        (
            "on oh seven seven double oh nine hundred one two three",
            "oh seven seven double oh nine hundred one two three",
        ),
        ("it is plus forty nine one seven six twelve thirty", "plus forty nine one seven six twelve thirty"),
        ("oh one seven six, twelve thirty four, fifty six", "oh one seven six, twelve thirty four, fifty six"),
        ("so 0176 twelve thirty four ok", "0176 twelve thirty four"),
        ("my pin is forty two seventeen", "forty two seventeen"),
        ("two one two five five five oh", "two one two five five five oh"),
    ],
)
def test_a_number_is_taken_whole(text: str, number: str) -> None:
    assert [text[start:end] for start, end in numbers(text)] == [number]


@pytest.mark.parametrize(
    "text",
    [
        "I won six four, seven five, six three",
        "nineteen eighty two and twenty twenty two",
        "the world number one hundred and two",
        "player number forty two, my number one fan",
        "two hundred, three hundred, four hundred of them",
        "0176 1234567",
    ],
)
def test_scores_years_and_counts_stay(text: str) -> None:
    assert list(numbers(text)) == []
