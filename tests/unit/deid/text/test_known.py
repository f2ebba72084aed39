"""A known name is found however it is written, and words that are only like it stay."""

import pytest

from deemo_dist.deid.text.known import KnownNames, folded

WORDS = frozenset(["joy", "hope", "grace", "will", "young", "bo", "mark", "hall", "so", "do", "man", "also"])
SMALL = frozenset(("so", "do", "the"))


def gone(text: str, *names: str) -> str:
    """``text`` with what was found struck out."""
    found = KnownNames(names, WORDS.__contains__, SMALL.__contains__).places(text)
    struck = {at for start, end in found for at in range(start, end)}
    return "".join("-" if at in struck else sign for at, sign in enumerate(text))


@pytest.mark.parametrize(
    ("text", "name", "left"),
    [
        ("so li na won", "Li Na", "so ----- won"),
        ("na was happy", "Li Na", "-- was happy"),
        ("na li won", "Li Na", "----- won"),
        ("i am WILL YOUNG", "Will Young", "i am ----------"),
        ("grace, hope and joy", "Grace Hope", "----------- and joy"),
        ("so bo wu played", "Bo Wu", "so ----- played"),
        ("[KELLER_1] and keller's", "Anna Keller", "[------_1] and ------'s"),
        ("anna_keller annakeller", "AnnaKeller", "----------- ----------"),
        ("muller and Kvitova", "Petra Müller-Kvitová", "------ and -------"),
        ("also al so won", "Al So", "also ----- won"),
        ("李娜 won", "李娜", "-- won"),
        ("我叫李娜很高兴", "李娜", "我叫--很高兴"),
        ("李 met him", "李 娜", "- met him"),
        ("मेरा नाम राजेश कुमार है", "राजेश कुमार", "मेरा नाम ----------- है"),
        ("कुमारजी आए", "राजेश कुमार", "-----जी आए"),
        ("지민이 왔어, 자매", "김 지민", "--이 왔어, 자매"),
        ("דוד כהן בא", "דָּוִד כֹּהֵן", "------- בא"),
        ("کمال\u200cالدین آمد", "کمالالدین", "---------- آمد"),
        ("Ивана нет, Иван тут", "Иван", "Ивана нет, ---- тут"),
        ("the kellers' house", "anna_keller", "the -------' house"),
    ],
)
def test_a_known_name_is_found_however_it_is_written(text: str, name: str, left: str) -> None:
    assert gone(text, name) == left


@pytest.mark.parametrize(
    ("text", "name", "left"),
    [
        ("P0042 smiles, p0042's coach frowns", "P0042", "----- smiles, -----'s coach frowns"),
        ("then S07 left", "S07", "then --- left"),
        ("player12 and Player 12", "player12", "-------- and Player 12"),
        ("Ses01F_impro and ses01f", "Ses01F", "------_impro and ------"),
        ("spk_12, SPK 12 and spk-12", "spk_12", "------, ------ and ------"),
        ("subject-01 is calm, subject 01 too", "subject_01", "---------- is calm, ---------- too"),
        ("1042 smiles", "1042", "---- smiles"),
        ("ID.117 and 117", "ID.117", "------ and 117"),
    ],
)
def test_a_code_is_a_name_as_a_whole(text: str, name: str, left: str) -> None:
    assert gone(text, name) == left


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("i will win and i hope so", "Will Young"),
        ("WILL IT BE THIS YOUNG", "Will Young"),
        ("the speaker is calm", "speaker_01"),
        ("the man is sad", "man_3"),
        ("So do i", "So"),
        ("nathan and lino", "Li Na"),
        ("a b c", "A. B."),
        ("room 117 and 7", "117"),
        ("P00421 and XP0042", "P0042"),
        ("the man, 3 years old", "man_3"),
        ("anything", ""),
    ],
)
def test_words_that_are_only_like_it_stay(text: str, name: str) -> None:
    assert gone(text, name) == text


def test_a_part_that_is_a_word_is_a_name_where_a_capital_or_an_introduction_says_so() -> None:
    assert gone("I told Will that i will. hello will", "Will Young") == "I told ---- that i will. hello ----"
    assert gone("i am joy and it is a joy", "Joy") == "i am --- and it is a ---"
    assert gone("my name is grace, with grace", "Grace Keller") == "my name is -----, with grace"


def test_folding_keeps_the_length() -> None:
    for text in ("Kvitová İstanbul ß ﬁ", "e\u0301", ""):
        assert len(folded(text)) == len(text)
