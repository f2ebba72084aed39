"""Words: what is found, what is kept, and that nobody is asked over the network."""

import re
import socket
import unicodedata
from typing import Any

import pytest
import regex

from deemo_dist.config import PolicyConfig
from deemo_dist.deid import weaknesses
from deemo_dist.deid.text import recognisers
from deemo_dist.deid.text.gazetteer import gazetteer
from deemo_dist.deid.text.known import BY_SHAPE
from deemo_dist.deid.text.transcript import Placeholders, Scrubber, merged, replaced
from deemo_dist.errors import DeidError

FOUND = [
    ("Well, I played Carlos Alcaraz in Madrid last year.", ["Carlos", "Alcaraz", "Madrid"]),
    ("so i told sarah we would meet novak in london", ["sarah", "novak", "london"]),
    ("My number is five five five one two three four", ["five five five", "three four"]),
    ("call me on 0044 20 7946 0958 or +1 (555) 010-9999", ["7946", "0958", "010-9999"]),
    ("email me at john.smith@example.com", ["john", "smith", "example"]),
    ("write to john dot smith at gmail dot com", ["john", "smith", "gmail"]),
    ("I live at 12 Baker Street.", ["12", "Baker"]),
    ("i live at forty two maple avenue", ["forty", "maple"]),
    ("follow me, @rafa_n on twitter", ["rafa_n"]),
    ("Grace Kelly watched, and Joy came too", ["Grace", "Kelly"]),
    ("the final at wimbledon against patrick", ["wimbledon", "patrick"]),
    ("my passport number is four five six", ["four five six"]),
    ("see www.annakeller.com for more", ["annakeller"]),
    ("and then Will came with Mark", ["Will", "Mark"]),
    ("born 12/03/1985 in the mountains", ["12/03/1985"]),
    ("I PLAYED ZBIGNIEW KOWALSKI AND LOST", ["ZBIGNIEW", "KOWALSKI"]),
    ("we lost to tottenham before the davis cup, psg was better", ["tottenham", "davis", "psg"]),
    ("I played Arsenal and then the US Open", ["Arsenal", "Open"]),
    ("it was Petra Kvitová's serve", ["Petra", "Kvitov"]),
    ("yesterday i saw mbappé and gündoğan", ["mbapp", "ndo"]),
    ("my name is joy and i won", ["joy"]),
    ("i am will young and i lost", ["will", "young"]),
    ("hello i'm grace hope, her name is will", ["grace", "hope", "will"]),
    ("this is mark kowalski", ["mark", "kowalski"]),
    ("[NADAL_2] met [KOWALCZUK_1] today", ["nadal", "kowalczuk"]),
    ("My last name is Kowalski, that's K-O-W-A-L-S-K-I.", ["kowalski", "k-o", "s-k-i"]),
    ("that is O-K-O-N-K-W-O, right", ["o-k-o"]),
    ("it is spelled k o w a l s k i, so kowalski", ["k o w", "kowalski"]),
    ("that's D-I-A-Z", ["d-i"]),
    ("my email is j smith eighty two at hotmail dot co dot uk", ["smith", "eighty"]),
    ("maria.gonzalez (at) gmail (dot) com", ["maria", "gmail", "dot"]),
    ("my number is six fifty two fifty three ten twenty", ["six", "fifty", "twenty"]),
    ("passport number C01X00T47", ["c01"]),
    ("student number A1234567, case number 2019-CV-00123", ["a123", "2019", "00123"]),
    ("my plate is M AB 1234 and VIN WVWZZZ1JZXW000001", ["1234", "wvw", "00001"]),
    ("I was born on the 3rd of March 1982", ["3rd", "1982"]),
    ("i was born on march third nineteen eighty two", ["third", "eighty"]),
    ("my discord is maria hash 1234, my insta maria_g92", ["1234", "g92"]),
    ("I asked An about it, Ha said so, it was An's idea", ["an ", "ha "]),
    ("Will Young walked in.", ["will", "young"]),
    ("So we asked. Will Young came", ["will", "young"]),
    ("Penny: i was so happy that day", ["penny"]),
    ("Interviewer: why?\nWill: because we won\nhope: I did not", ["will", "hope"]),
    ("[00:12] Mark: thanks\n- Joy: 3 of us won", ["mark", "joy"]),
    ("Vu told me, and i asked bo and uncle jo", ["vu", "bo", "jo"]),
    ("send it to 12 Oconnor Port Suite 3, WY 82001", ["Oconnor", "Suite", "82001"]),
]
KEPT = [
    "so joy and hope are what i felt, grace under pressure I guess",
    "I won six four, six three and I was so happy",
    "the weather is nice and we will split the work, my brother was running on the court",
    "Mark my words: it may be hard but I will win.",
    "She looks down and folds her arms; the speaker sounds calm and then angry.",
    "i feel such love and pride and no fear at all",
    "A fist is raised beside the head. The voice rises over each phrase.",
    "yeah um i mean the tiebreak was crazy, i double faulted twice and i was gutted",
    "I don't think so, honestly. We'll see what happens in the semifinal next week.",
    "my coach told me to breathe, so i took my time and my forehand came back",
    "The crowd was unbelievable tonight, I had goosebumps walking out on court.",
    "well, obviously it hurts. it's one of the toughest losses of my career",
    "SHE SMILES AND LOOKS AWAY, HER SHOULDERS DROP",
    "Rubs the back of the neck, avoids eye contact, speaks in a flat monotone with long pauses.",
    "It would be easy to blame the umpire, but the better player won today.",
    "i am very happy, this is pure joy, i am full of hope and my name is on the list",
    "5, 5. 5",
    'An apple fell. He said "An idea", ha. An added bonus came. Ha!',
    "in twenty twenty two, in June 1990, I was number one hundred and two, my number one fan",
    "case 2 is closed, my file is on the table, we were at home",
    "i was on TV at 8 P.M. and I did it",
    "w-w-what i, i, i mean, plan a, b, c",
    "Joy: she smiles and claps",
    "Hope: the player looks up\nFear: his shoulders are drawn up",
    "Joy: 7\nhope: 0.25, fear: low\ngrace: 3/10\nfaith: 4 out of 10.",
    "Interviewer: will you go?\nCoach: i hope so\nVoice: calm\nReason: he won",
    "The weather will hold. Will it? May we go? More rain fell.",
    "this is hope and this is joy, i am happy will you come",
]


@pytest.fixture(scope="module")
def scrubber() -> Scrubber:
    return Scrubber()


@pytest.mark.slow
@pytest.mark.parametrize(("text", "gone"), FOUND)
def test_what_names_somebody_is_gone(scrubber: Scrubber, text: str, gone: list[str]) -> None:
    made = scrubber(text, {})
    assert made.transcript is not None
    for word in gone:
        assert word.lower() not in made.transcript.lower()
    assert made.entities >= 1
    assert re.search(r"\[[A-Z]+_1\]", made.transcript)


@pytest.mark.slow
@pytest.mark.parametrize("text", KEPT)
def test_common_and_emotion_words_stay(scrubber: Scrubber, text: str) -> None:
    made = scrubber(text, {})
    assert (made.transcript, made.entities) == (text, 0)


@pytest.mark.slow
def test_a_speakers_label_makes_no_name_of_the_same_word_elsewhere(scrubber: Scrubber) -> None:
    said = "Will: i will go and Will knows\nHope: i hope you will"
    made = "[PERSON_1]: i will go and [PERSON_1] knows\n[PERSON_2]: i hope you will"
    assert scrubber(said, {}).transcript == made


@pytest.mark.slow
def test_a_text_that_a_pattern_takes_too_long_for_is_refused(
    scrubber: Scrubber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognisers, "SECONDS", 1e-9)
    with pytest.raises(DeidError, match="took longer") as caught:
        scrubber("i live at 12 baker lane and there " * 2000, {})
    assert (caught.value.stage, caught.value.reason) == ("transcript", "too_slow")


@pytest.mark.parametrize("row", ["one ", "-", "a.", "a-", "x dot ", "passport-", "dash dot "])
def test_no_pattern_takes_long_for_a_long_row(row: str) -> None:
    text = (row * 190_000)[:190_000]
    for patterns in recognisers.PATTERNS.values():
        for _, pattern, _ in patterns:
            found = regex.compile(pattern, regex.IGNORECASE).finditer(text, timeout=20.0)
            assert not list(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "host", ["foo.com", "a.b.foo.co.uk", "foo.com.zz.de/path", "x-y.comfoo.de", ".".join("abcdefghijklmnop") + ".org"]
)
def test_a_host_goes_whole(scrubber: Scrubber, host: str) -> None:
    assert scrubber(f"so {host} it is", {}).transcript == "so [URL_1] it is"


@pytest.mark.slow
def test_the_highest_strong_threshold_loses_no_name_that_is_told_by_its_shape() -> None:
    made = Scrubber(threshold=BY_SHAPE)("i met mnikathi yesterday", {})
    assert made.transcript == "i met [PERSON_1] yesterday"
    assert not weaknesses(PolicyConfig(pii_threshold=BY_SHAPE))


@pytest.mark.slow
def test_placeholders_agree_across_transcript_and_texts(scrubber: Scrubber) -> None:
    made = scrubber(
        "I am Serena Williams and serena likes Paris, John does not",
        {"reasoning": "Williams smiles at John.", "visual_cues": "calm"},
    )
    assert made.transcript == "I am [PERSON_1] and [PERSON_1] likes [LOCATION_1], [PERSON_2] does not"
    assert made.texts == {"reasoning": "[PERSON_1] smiles at [PERSON_2].", "visual_cues": "calm"}


@pytest.mark.slow
def test_the_subject_is_removed_even_where_no_recogniser_sees_a_name(scrubber: Scrubber) -> None:
    made = scrubber("so zorblax said hi", {"cue": "Quint is sad"}, known=["Zorblax_Quint"])
    assert made.transcript == "so [PERSON_1] said hi"
    assert "Quint" not in made.texts["cue"]
    for text, name, left in (
        ("so li na won and na was happy", "Li Na", "so [PERSON_1] won and [PERSON_1] was happy"),
        ("i am will young, and will win", "Will Young", "i am [PERSON_1], and will win"),
        ("thanks grace hope for the hope", "Grace Hope", "thanks [PERSON_1] for the hope"),
        ("so bo wu played well", "Wu, Bo", "so [PERSON_1] played well"),
        ("[KELLER_1] was happy", "Anna Keller", "[[PERSON_1]_1] was happy"),
    ):
        assert scrubber(text, {}, known=[name]).transcript == left
    made = scrubber("P0042 met [PERSON_1]", {"cue": "P0042 is sad, person 1 too"}, known=["P0042", "person_1"])
    assert made.transcript == "[PERSON_2] met [PERSON_1]"
    assert made.texts["cue"] == "[PERSON_2] is sad, [PERSON_3] too"
    assert scrubber("the subject is calm", {}, known=["subject_01"]).transcript == "the subject is calm"


@pytest.mark.slow
@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize(
    "name", ["Ana N\u00fa\u00f1ez", "J\u00fcrgen \u00d6z", "\u0110\u1ea1t L\u00ea", "Zo\u00eb \u00c7il"]
)
def test_a_name_is_removed_however_its_accents_are_encoded(scrubber: Scrubber, name: str, form: str) -> None:
    said = unicodedata.normalize(form, f"then {name} left, and {name.split()[1]} was angry")
    for known in ("NFC", "NFD"):
        made = scrubber(said, {"cue": said}, known=[unicodedata.normalize(known, name)])
        assert made.transcript == made.texts["cue"] == "then [PERSON_1] left, and [PERSON_1] was angry"
    hidden = "so zor\u00adblax and zor\u200bblax and zo\u0335rblax won"
    assert scrubber(hidden, {}, known=["Zorblax"]).transcript == "so [PERSON_1] and [PERSON_1] and [PERSON_1] won"


@pytest.mark.slow
def test_dropping_leaves_no_transcript_but_scrubs_the_texts(scrubber: Scrubber) -> None:
    made = scrubber("I am Anna", {"cue": "Anna smiles"}, known=["Anna"], drop=True)
    assert made.transcript is None
    assert made.texts == {"cue": "[PERSON_1] smiles"}
    assert scrubber(None, {}).transcript is None
    assert scrubber("", {}).transcript == ""


@pytest.mark.slow
def test_words_joined_by_underscores_are_a_handle_where_one_can_be_a_name(scrubber: Scrubber) -> None:
    for handle in ("will_young", "Rose_Hill", "mark_stone", "zbigniew_tv"):
        made = scrubber(f"follow {handle} for more", {}).transcript
        assert made == "follow [HANDLE_1] for more"
    assert scrubber("see audio_cues and visual_cues there", {}).transcript == "see audio_cues and visual_cues there"


@pytest.mark.slow
def test_marks_of_direction_hide_no_name(scrubber: Scrubber) -> None:
    hidden = "so \u200eAn\u202ana Kel\u2066ler won"
    assert scrubber(hidden, {}).transcript == "so [PERSON_1] won"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("My phone is 0770 [NUMBER_1] 900 123 thanks", "My phone is [NUMBER_2] [NUMBER_1] [NUMBER_3] thanks"),
        ("my phone number is 0770 [UNSURE_1] 900 123", "my phone number is [NUMBER_2] [UNSURE_1] [NUMBER_3]"),
        ("call 0770 [NUMBER_2]-900123", "call [NUMBER_3] [NUMBER_2]-[NUMBER_4]"),
        ("card number 4111 [NUMBER_1] 1111 1234", "card number [NUMBER_2] [NUMBER_1] [NUMBER_3]"),
        ("passport [NUMBER_1]X12345", "passport [NUMBER_1]X[NUMBER_2]"),
        ("mail rose.hill@[URL_1] now", "mail [EMAIL_2][URL_1] now"),
        ("https://rose-hill.clinic.org/[HANDLE_1]?token=abc", "[URL_2]/[HANDLE_1]?[URL_3]"),
        ("I have 2 [NUMBER_1] of them", "I have 2 [NUMBER_1] of them"),
        ("i am [PERSON_1] and happy", "i am [PERSON_1] and happy"),
    ],
)
def test_what_an_earlier_scrubbing_broke_in_pieces_goes_whole(scrubber: Scrubber, text: str, made: str) -> None:
    assert scrubber(text, {}).transcript == made


@pytest.mark.slow
def test_old_placeholders_stay_and_are_not_taken_again(scrubber: Scrubber) -> None:
    assert scrubber("[PERSON_1] met Anna Keller", {}).transcript == "[PERSON_1] met [PERSON_2]"
    assert scrubber("[NUMBER_7] [LAUGHTER_1]", {}).transcript == "[NUMBER_7] [LAUGHTER_1]"


@pytest.mark.slow
def test_nothing_is_asked_over_the_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("TLDEXTRACT_CACHE", str(tmp_path))
    made = Scrubber()("mail bob@example.co.uk, see https://example.museum/x and call 212 555 0100 99", {})
    assert made.transcript is not None
    assert "example" not in made.transcript
    assert list(tmp_path.iterdir()) == []


def test_lists_are_disjoint_and_emotion_words_are_never_sure_names() -> None:
    lists = gazetteer()
    assert not lists.sure & lists.ambiguous
    assert not lists.likely & lists.ambiguous
    assert {"joy", "hope", "grace", "will"} <= lists.ambiguous
    assert {"sarah", "emma"} <= lists.sure
    assert {"madrid", "wimbledon", "london"} <= lists.places
    assert len(lists.sure) > 1_000
    assert len(lists.likely) > 5_000


def test_overlaps_are_joined_and_an_organisation_gives_way() -> None:
    spans = [(0, 12, "ORGANIZATION"), (0, 5, "PERSON"), (6, 12, "PERSON"), (20, 25, "LOCATION"), (24, 30, "ADDRESS")]
    assert merged(spans) == [(0, 12, "PERSON"), (20, 30, "ADDRESS")]
    assert merged([]) == []


def test_replacing_keeps_everything_else() -> None:
    made = replaced("abc Bob's def", [(4, 9, "PERSON")], Placeholders())
    assert made == "abc [PERSON_1] def"
    numbers = Placeholders(taken=3)
    assert numbers.of("PERSON", "Anna Keller") == numbers.of("PERSON", "anna") == "[PERSON_4]"
    assert numbers.of("PERSON", "Bob") == numbers.of("PERSON", "B-O-B") == "[PERSON_5]"
    assert numbers.of("LOCATION", "Bob") == "[LOCATION_4]"
