"""How many planted persons are found, and how many other words are lost, by templates and names not tuned on."""

import pytest

from deemo_dist.config import PolicyConfig
from deemo_dist.deid.text.asr import Listener
from deemo_dist.deid.text.gazetteer import LOCALES, gazetteer
from deemo_dist.deid.text.spoken import Words
from tests.heard import judge, listen, say, speakable
from tests.pii import UNSEEN, Tally, covered, measure, names, sentences, templates


@pytest.fixture(scope="module")
def words() -> Words:
    return Words(PolicyConfig())


def test_the_names_are_new_to_the_gazetteer_and_the_halves_share_nothing() -> None:
    lists = gazetteer()
    assert not set(UNSEEN) & set(LOCALES)
    halves = [names("dev"), names("held")]
    for first, last in halves:
        assert len(first) > 2000
        assert len(last) > 2000
        assert not {name.lower() for name in (*first, *last)} & (lists.sure | lists.likely | lists.ambiguous)
    assert not set(halves[0][0]) & set(halves[1][0])
    for half in ("dev", "held"):
        assert {name.lower() for part in names(half, hard=True) for name in part} <= lists.ambiguous
    assert not set(templates("dev")) & set(templates("held"))


def test_planted_mentions_are_where_they_are_said_to_be() -> None:
    rows = sentences("held", fills=1)
    first, last = (set(part) for part in names("held"))
    for row in rows:
        for mention in row.planted:
            text = row.text[mention.start : mention.end]
            assert text
            if mention.kind == "PERSON":
                assert set(text.split()) <= first | last


def test_a_mention_counts_only_when_all_of_it_is_covered() -> None:
    text = "so Anna Keller won"
    assert covered([(3, 14, "PERSON")], text, 3, 14)
    assert covered([(3, 7, "PERSON"), (8, 14, "NAME")], text, 3, 14)
    assert not covered([(3, 7, "PERSON")], text, 3, 14)


def test_wilsons_interval_is_that_of_the_tables() -> None:
    tally = Tally(95, 100)
    assert (round(tally.low, 3), round(tally.high, 3)) == (0.888, 0.978)


@pytest.mark.slow
@pytest.mark.parametrize("lower", [False, True], ids=["cased", "lower"])
def test_persons_are_found_and_other_words_are_kept(words: Words, lower: bool) -> None:
    found = measure(words._scrubber, sentences("held", fills=9), lower=lower)
    assert found["PERSON"].total >= 500
    assert found["PERSON"].low >= 0.95
    assert found["other"].share <= 0.02
    assert found["EMAIL"].share == 1.0
    assert found["NUMBER"].share >= 0.85
    assert found["DATE"].share == 1.0


@pytest.mark.slow
@pytest.mark.parametrize(("lower", "least"), [(False, 0.88), (True, 0.12)], ids=["cased", "lower"])
def test_names_that_are_words_are_found_where_capitals_tell(words: Words, lower: bool, least: float) -> None:
    """Without capitals most are missed: nothing in "will rose" says that it is a person."""
    found = measure(words._scrubber, sentences("held", fills=3, hard=True), lower=lower)
    assert found["PERSON"].total >= 150
    assert found["PERSON"].low >= least
    assert found["other"].share <= 0.02


@pytest.mark.slow
def test_spoken_names_are_muted_and_other_words_are_kept(words: Words) -> None:
    hearings = listen(Listener(), say(speakable(sentences("held", fills=1))[:36]))
    for lower in (False, True):
        found = judge(words, hearings, lower=lower)
        assert found["muted_given"].total >= 30
        assert found["muted_given"].share >= 0.95
        assert found["hidden"].share >= 0.8
        assert found["released_hidden"].share >= 0.95
        assert found["muted"].share >= 0.95
        assert found["other_muted_given"].share <= 0.1
        assert found["other_muted"].share <= 0.14
        assert found["other_removed"].share <= 0.02
        assert found["other_left_out"].share <= 0.14
