"""Letters of other scripts: whole words, and what can be read."""

import re

import pytest

from deemo_dist.deid.text.letters import WORD, can_be_read, is_foreign, is_unspaced


@pytest.mark.parametrize("text", ["राजेश कुमार", "کمال\u200cالدین", "কমলা", "கமலா", "สมชาย", "דָּוִד", "Zoë", "김민수"])
def test_a_word_holds_its_vowel_signs(text: str) -> None:
    assert re.findall(WORD, text) == text.split()


@pytest.mark.parametrize(
    ("text", "readable"),
    [
        ("I met 李娜 yesterday", True),
        ("Zoë und Łukasz", True),
        ("5, 5. 5", True),
        ("", True),
        ("मेरा नाम राजेश है", False),
        ("我叫李娜，很高兴 ok", False),
        ("나는 김민수입니다", False),
        ("Меня зовут Иван", False),
        ("my name is Ｍａｒｉａ", True),
    ],
)
def test_what_is_mostly_in_our_letters_can_be_read(text: str, readable: bool) -> None:
    assert can_be_read(text) == readable


def test_scripts_are_told_apart() -> None:
    assert [is_foreign(word) for word in ("Łukasz", "Иван", "李娜")] == [False, True, True]
    assert [is_unspaced(word) for word in ("Łukasz", "Иван", "李娜", "कुमार", "민수")] == [
        False,
        False,
        True,
        True,
        True,
    ]
