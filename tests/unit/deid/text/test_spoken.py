"""What is to be muted: from the transcript, from what is heard, and when there is nothing to mute or to hear."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deemo_dist.config import PolicyConfig
from deemo_dist.deid.text import spoken
from deemo_dist.deid.text.asr import Again, Heard, HeardWord, Listener
from deemo_dist.deid.text.spoken import Words, joined
from deemo_dist.errors import DeidError
from tests.voices import RATE, speak

POLICY = PolicyConfig()
SENTENCE = "My name is Anna Keller and I was happy with my serve in London today."


class Told:
    """An ear that is told what it hears: one word a second, each 0.8 s long."""

    def __init__(self, text: str = "", **others: Any) -> None:
        words = tuple(HeardWord(word, float(at), at + 0.8, 1.0) for at, word in enumerate(text.split()))
        self.heard = Heard(words, ((0.0, float(len(words))),), **others)
        self.asked = 0

    def __call__(self, waveform: np.ndarray, rate: int) -> Heard:
        self.asked += 1
        return self.heard


@pytest.fixture(scope="module")
def words() -> Words:
    return Words(POLICY)


def ask(
    words: Words, ear: Any, said: str | None, *, texts: dict[str, str] | None = None,
    known: Iterable[str] = (), sound: bool = True, **policy: Any,
) -> spoken.Spoken:  # fmt: skip
    """Ask with another ear and policy, over 12 s of sound."""
    words._listen, words._policy = ear, replace(POLICY, **policy)
    return words(said, texts or {}, known, np.zeros(12 * RATE, np.float32) if sound else None, RATE)


@pytest.mark.slow
def test_a_name_in_the_transcript_is_muted_where_it_is_heard(words: Words) -> None:
    made = ask(words, Told("i am anna keller and i won"), "I am Anna Keller and I won.")
    assert made.transcript == "I am [PERSON_1] and I won."
    assert made.mutes == ((1.9, 3.9),)
    assert made.source == "given"
    assert made.figures["heard_words"] == 7
    assert made.figures["muted_seconds"] == pytest.approx(2.0)


@pytest.mark.slow
def test_a_name_whose_accents_stand_apart_is_scrubbed_and_muted(words: Words) -> None:
    said = unicodedata.normalize("NFD", "then N\u00fa\u00f1ez left the room")
    made = ask(words, Told("then noon yes left the room"), said, texts={"cue": said}, known=["Ana N\u00fa\u00f1ez"])
    assert made.transcript == made.texts["cue"] == "then [PERSON_1] left the room"
    ((start, end),) = made.mutes
    assert start <= 0.9
    assert 2.9 <= end < 3.5


@pytest.mark.slow
def test_a_name_that_is_only_heard_is_muted_too(words: Words) -> None:
    made = ask(words, Told("i am anna keller said sarah today"), "I am Anna Keller, she said today")
    assert any(start < 5.0 and end > 5.8 for start, end in made.mutes)
    assert "sarah" not in str(made).lower()


@pytest.mark.slow
def test_a_misheard_name_mutes_the_gap(words: Words) -> None:
    made = ask(words, Told("yesterday we played no back joke of itch in madrid"), "yesterday we played Novak Djokovic")
    assert made.mutes[0][0] == pytest.approx(2.7)
    assert made.mutes[-1][1] >= 9.8


@pytest.mark.slow
def test_a_name_that_nobody_wrote_down_is_muted(words: Words) -> None:
    made = ask(words, Told("thank you anna keller that was great"), "thank you, that was great")
    assert made.mutes == ((1.9, 3.9),)
    assert made.transcript == "thank you, that was great"


@pytest.mark.slow
def test_words_that_were_doubted_and_that_nobody_wrote_down_are_muted(words: Words) -> None:
    ear = Told("thank you no back that was great")
    shaky = [replace(word, probability=0.35) if 2 <= at <= 3 else word for at, word in enumerate(ear.heard.words)]
    ear.heard = replace(ear.heard, words=tuple(shaky))
    assert ask(words, ear, "thank you, that was great").mutes == ((1.9, 3.9),)
    assert ask(words, ear, "thank you, no back that was great").mutes == ()
    ear = Told("thank you sir that was great")
    for place, mutes in ((2, ((1.9, 2.9),)), (3, ())):
        shaky = [replace(word, probability=0.35 if at == place else 1.0) for at, word in enumerate(ear.heard.words)]
        ear.heard = replace(ear.heard, words=tuple(shaky))
        assert ask(words, ear, None).mutes == mutes


@pytest.mark.slow
def test_where_a_second_ear_heard_a_name_the_words_go_unless_a_transcript_has_them(words: Words) -> None:
    ear = Told("we played no back joke again today", again=(Again(0, 7, "We played Novak Djokovic again today."),))
    made = ask(words, ear, None)
    assert made.mutes == (pytest.approx((1.9, 4.9)),)
    assert made.transcript == "we played [UNSURE_1] again today"
    assert ask(words, ear, "we played no back joke again today").mutes == ()
    assert ask(words, ear, "we played again today").mutes == (pytest.approx((1.9, 4.9)),)


@pytest.mark.slow
def test_a_second_ear_is_searched_with_the_known_names_and_with_the_texts_beside_it(words: Words) -> None:
    ear = Told("and then soap stone came to us", again=(Again(0, 7, "and then hope stone came to us"),))
    assert ask(words, ear, None, known=["Anna Keller"]).mutes == ()
    made = ask(words, ear, None, known=["Hope Stone"])
    assert (made.transcript, made.mutes) == ("and then [UNSURE_1] came to us", (pytest.approx((1.9, 3.9)),))
    ear = Told("we met petter in the hall", again=(Again(0, 6, "we met pepper in the hall"),))
    made = ask(words, ear, None, texts={"cue": "my name is pepper and i am here"})
    assert made.mutes == (pytest.approx((1.9, 2.9)),)


@pytest.mark.slow
@pytest.mark.parametrize("given", [True, False])
def test_a_name_that_is_only_told_by_what_was_heard_is_taken_out_of_the_texts_too(words: Words, given: bool) -> None:
    heard = "hello my name is pepper and i am happy"
    said = "hello, pepper and happy" if given else None
    made = ask(words, Told(heard), said, texts={"cue": "the woman, pepper, smiled"})
    assert made.texts == {"cue": "the woman, [PERSON_1], smiled"}
    assert made.transcript == ("hello, [PERSON_1] and happy" if given else "hello my name is [PERSON_1] and i am happy")
    assert ask(words, Told(heard), said, texts={"cue": "pepper smiled"}, mute=False, asr="never").texts == {
        "cue": "pepper smiled"
    }


@pytest.mark.slow
def test_where_a_mention_cannot_be_placed_all_speech_is_muted(words: Words) -> None:
    deaf = Told()
    deaf.heard = Heard((), ())
    assert ask(words, deaf, "I am Anna Keller").mutes == ((0.0, 12.0),)
    deaf.heard = Heard((), ((2.0, 4.0), (6.0, 9.0)), wordless=((6.0, 8.0),))
    made = ask(words, deaf, "I am Anna Keller")
    assert made.mutes == ((1.9, 4.1), (7.9, 9.1))
    assert made.transcript == "I am [PERSON_1]"
    assert ask(words, deaf, "it was a good match").mutes == ()
    other = Told("completely different words are spoken over here today", wordless=((0.0, 1.0),))
    assert ask(words, other, "I am Anna Keller and I won").mutes == ((0.9, 8.1),)
    with pytest.raises(DeidError, match="cannot be placed") as caught:
        ask(words, other, "I am Anna Keller and I won", uncertain="reject")
    assert caught.value.reason == "uncertain"
    assert ask(words, Told("i am anna keller"), "I am Anna Keller", uncertain="reject").mutes == ((1.9, 3.9),)


@pytest.mark.slow
def test_what_is_surely_wordless_stays(words: Words) -> None:
    hums = Told()
    hums.heard = Heard((), ((2.0, 4.0),), wordless=((2.0, 4.0),))
    for transcript in (None, "I am Anna Keller", "it was a good match"):
        assert ask(words, hums, transcript).mutes == ()


@pytest.mark.slow
def test_listening_is_saved_where_no_words_stay_audible(words: Words) -> None:
    for transcript, more in (
        ("I am Anna", {"sound": False}), ("I am Anna", {"voice": "prosody"}), ("I am Anna", {"voice": "drop"}),
        ("I am Anna", {"mute": False}), (None, {"asr": "never", "mute": False}),
    ):  # fmt: skip
        ear = Told("i am anna")
        made = ask(words, ear, transcript, **more)  # type: ignore[arg-type]
        assert (ear.asked, made.mutes) == (0, ())


@pytest.mark.slow
def test_what_is_heard_becomes_the_transcript_where_none_came(words: Words) -> None:
    for missing in (None, "", "  "):
        made = ask(words, Told("i am anna keller today"), missing, texts={"cue": "Anna smiles"})
        assert made.transcript == "i am [PERSON_1] today"
        assert made.texts == {"cue": "[PERSON_1] smiles"}
        assert (made.source, made.entities) == ("asr", 2)
        assert made.mutes == ((1.9, 3.9),)
    assert ask(words, Told(), None).transcript is None
    assert ask(words, Told(), "").transcript == ""
    never = ask(words, Told("i am anna keller"), None, asr="never")
    assert (never.transcript, never.source, len(never.mutes)) == (None, "none", 1)


def unsure(text: str, *places: int) -> Told:
    ear = Told(text)
    shaky = [replace(word, probability=0.35 if at in places else 1.0) for at, word in enumerate(ear.heard.words)]
    ear.heard = replace(ear.heard, words=tuple(shaky))
    return ear


@pytest.mark.slow
@pytest.mark.parametrize("voice", ["world", "prosody", "drop"])
def test_words_that_may_be_names_are_in_no_transcript_whatever_becomes_of_the_sound(words: Words, voice: Any) -> None:
    made = ask(words, unsure("so then will rose came in late", 2, 3), None, voice=voice)
    assert (made.transcript, made.entities) == ("so then [UNSURE_1] came in late", 0)
    made = ask(words, unsure("my coach Ilsa and the cathe said well done", 2, 3, 4, 5), None, voice=voice)
    assert made.transcript == "my coach [PERSON_1] [UNSURE_1] [PERSON_2] said well done"
    assert ask(words, unsure("so then will rose came in late", 2, 3), "so then will rose came in late").transcript


@pytest.mark.slow
@pytest.mark.parametrize("said", ["मेरा नाम राजेश कुमार है", "我叫李娜，很高兴", "지민 왔어, 민수 갔어", "Меня зовут Иван"])
def test_what_is_in_letters_that_cannot_be_read_is_left_out(words: Words, said: str) -> None:
    texts = {"cue": said, "reasoning": "Anna smiles"}
    made = ask(words, Told("i am anna today"), said, texts=texts)
    assert (made.transcript, made.source, made.texts) == (None, "none", {"reasoning": "[PERSON_1] smiles"})
    assert made.figures["unreadable_texts"] == 2
    assert made.mutes == ((1.9, 2.9),)
    assert "unreadable_texts" not in ask(words, Told("i am anna"), "i am anna").figures
    for transcript, others in ((said, {}), (None, {"cue": said})):
        with pytest.raises(DeidError, match="cannot be told") as caught:
            ask(words, Told(), transcript, texts=others, uncertain="reject")
        assert caught.value.reason == "uncertain" and said not in str(caught.value)


@pytest.mark.slow
def test_a_word_in_other_letters_is_a_name(words: Words) -> None:
    for name in ("李娜", "राजेश", "민수", "Ivan", "Иван"):
        made = ask(words, Told(), f"yesterday I met {name} at home").transcript
        assert made is not None and re.fullmatch(r"yesterday I met \[[A-Z]+_1\] at home", made)


@pytest.mark.slow
def test_a_dropped_transcript_still_says_what_to_mute(words: Words) -> None:
    made = ask(words, Told("i am anna keller"), "I am Anna Keller", texts={"cue": "Anna"}, transcript="drop")
    assert (made.transcript, made.source, made.entities) == (None, "none", 1)
    assert made.mutes == ((1.9, 3.9),)
    unseen = ask(words, Told("i am anna keller"), None, transcript="drop")
    assert (unseen.transcript, len(unseen.mutes)) == (None, 1)


@pytest.mark.slow
def test_names_somebody_took_out_before_are_still_spoken(words: Words) -> None:
    made = ask(words, Told("yesterday i beat zbigniew easily today"), "yesterday I beat [PERSON_1] easily today")
    assert made.mutes[0][0] < 3.0
    assert made.mutes[0][1] > 3.8


@pytest.mark.slow
@pytest.mark.parametrize(
    "mark",
    [
        "[NAME]",
        "<NAME>",
        "[PERSON 1]",
        "[Name_1]",
        "[first name]",
        "[LAST_NAME_2]",
        "(PERSON)",
        "xxx",
        "***",
        "____",
        "{NAME}",
        "{name_1}",
        "█████",
        "[redacted: name]",
        "[NAME 1 and NAME 2]",
        "[Redacted]",
    ],
)
def test_however_that_was_marked(words: Words, mark: str) -> None:
    made = ask(words, Told("yesterday i beat the brave easily today"), f"yesterday I beat {mark} easily today")
    assert made.mutes[0][0] < 3.0
    assert made.mutes[0][1] > 3.8


@pytest.mark.slow
@pytest.mark.parametrize("mark", ["[laughter]", "[soft music]", "[MUSIC]", "(slowly)"])
def test_a_mark_of_no_speech_is_no_name(words: Words, mark: str) -> None:
    assert (
        ask(words, Told("yesterday i beat them easily today"), f"yesterday I beat {mark} them easily today").mutes == ()
    )


@pytest.mark.slow
def test_the_known_name_is_muted_and_what_nobody_could_make_out_too(words: Words) -> None:
    made = ask(words, Told("so zorblax said hi to anna"), "so zorblax said hi to Anna", known=["Zorblax Quint"])
    assert made.mutes[0] == pytest.approx((0.9, 1.9))
    made = ask(words, Told("i am anna", garbled=((7.0, 9.0),)), "I am Anna")
    assert made.mutes[-1] == pytest.approx((6.9, 9.1))


spans = st.lists(st.tuples(st.floats(0, 9), st.floats(0, 3)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=9)


@given(spans, st.floats(0, 1))
def test_mutes_are_ordered_apart_within_the_sound_and_hold_every_span(given_: list[Any], margin: float) -> None:
    made = joined(given_, margin=margin, seconds=10.0)
    assert all(0 <= start < end <= 10.0 for start, end in made)
    assert all(a[1] < b[0] for a, b in pairwise(made))
    for start, end in given_:
        if min(end, 10.0) > start:
            assert any(first <= start and last >= min(end, 10.0) for first, last in made)


@pytest.mark.slow
def test_a_muted_name_is_not_heard_again(words: Words) -> None:
    listener = Listener()
    sound = speak(SENTENCE)
    words._listen, words._policy = listener, POLICY
    for transcript in (SENTENCE, None):
        made = words(transcript, {}, (), sound, RATE)
        silent = sound.copy()
        for start, end in made.mutes:
            silent[int(start * RATE) : int(end * RATE)] = 0
        before, after = (listener(each, RATE).text.lower() for each in (sound, silent))
        assert "anna" in before
        assert "london" in before
        for name in ("anna", "ana", "keller", "kellar", "london"):
            assert name not in after
        for word in ("my name", "happy", "today"):
            assert word in after


@pytest.mark.slow
def test_a_generated_clip_costs_little(words: Words) -> None:
    import time

    from deemo_dist.samples.people import draw_subjects
    from deemo_dist.samples.voice import speak as sing

    words._listen, words._policy = Listener(), POLICY
    subjects = draw_subjects(6, seed=3)
    clips = [sing(subject, "rising", 3.0, np.random.default_rng(subject.index)) for subject in subjects]
    words(SENTENCE, {}, (), clips[0], RATE)
    started = time.process_time()
    made = [words(SENTENCE, {}, (), clip, RATE) for clip in clips]
    assert (time.process_time() - started) / len(clips) < 0.3
    assert sum(not each.mutes for each in made) >= len(clips) - 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("de", "Wir waren sehr glücklich über den Sieg von Anna Keller."),
        ("de", "Ich heiße Jürgen und wohne in der Gartenstraße zwölf."),
        ("es", "Me llamo Ana García y vivo en Sevilla."),
        ("fr", "Je m'appelle Anna Keller et je viens de Lyon."),
        ("pl", "Nazywam się Anna Kowalska i mieszkam w Warszawie."),
        ("cmn", "我叫李娜，我来自武汉。"),
    ],
)
def test_speech_in_another_language_is_muted(words: Words, language: str, said: str) -> None:
    listener = Listener()
    words._listen, words._policy = listener, POLICY
    sound = speak(said, language=language)
    for transcript in (None, said):
        mutes = words(transcript, {}, (), sound, RATE).mutes
        assert all(
            any(start <= first and last <= end for start, end in mutes)
            for first, last in ((a + 0.2, b - 0.2) for a, b in listener(sound, RATE).speech)
        )


@pytest.mark.slow
def test_names_in_a_language_that_sounds_like_english_are_muted(words: Words) -> None:
    """An American who reads German: Whisper takes it for English, and is unsure where it is not."""
    words._listen, words._policy = Listener(), POLICY
    sound = speak("Mein Name ist Anna Keller und ich komme aus München.", language="de")
    (row,) = words(None, {}, (), sound, RATE).mutes
    assert row[0] < 0.9
    assert row[1] > len(sound) / RATE - 0.5
