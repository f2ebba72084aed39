"""Attacks on voices: rates of known scores, tiny data, and an ear that recognises what is left of a voice."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deemo_dist.deid.audit import speakers
from deemo_dist.deid.audit.speakers import ATTACKERS, SpeakerFigures, Voice, _Trials, chosen_voices, speaker_attack

SIZE = 12


def direction(sounds: Sequence[np.ndarray]) -> list[np.ndarray | None]:
    """A reader that takes the first samples of a sound for its template."""
    return [_direction(sound) for sound in sounds]


def _direction(sound: np.ndarray) -> np.ndarray | None:
    vector = sound[:SIZE].astype(np.float64)
    length = float(np.linalg.norm(vector))
    return vector / length if length > 1e-6 else None


def voices(people: int, clips: int, *, hidden: bool = False, seed: int = 0) -> list[Voice]:
    """Clips whose first samples tell the speaker; ``hidden``: not in what is released."""
    random = np.random.default_rng(seed)
    made = []
    for speaker in range(people):
        own = random.normal(size=SIZE)
        for clip in range(clips):
            raw = np.append(own + 0.1 * random.normal(size=SIZE), np.zeros(800))
            released = np.append(random.normal(size=SIZE), np.zeros(800)) if hidden else raw
            made.append(Voice(f"{speaker:02}{clip}", str(speaker), raw, released))
    return made


@pytest.fixture(autouse=True)
def undisguised(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attacker's own disguises change nothing here: they have tests of their own."""
    monkeypatch.setattr(speakers, "disguised_as", lambda sound, method, shifts: [sound] * len(shifts))


def by_attacker(found: SpeakerFigures) -> dict[str, float]:
    return {attack.attacker: attack.eer.value for attack in found.attacks}


def test_what_tells_the_speaker_is_found_and_what_does_not_is_guessed() -> None:
    open_, closed = (speaker_attack(voices(24, 5, hidden=hidden), "mcadams", direction) for hidden in (False, True))
    assert open_.estimable
    assert by_attacker(open_)["raw"] == by_attacker(open_)["ignorant"] == pytest.approx(0.0, abs=0.01)
    assert by_attacker(closed)["raw"] == pytest.approx(0.0, abs=0.01)
    for attack in closed.attacks[1:]:
        assert 0.4 < attack.eer.value < 0.6
        assert 0.05 < attack.eer.high - attack.eer.low < 0.2


def test_attackers_know_more_and_more() -> None:
    found = speaker_attack(voices(6, 4), "mcadams", direction)
    assert [attack.attacker for attack in found.attacks] == list(ATTACKERS)
    assert (found.speakers, found.utterances, found.full) == (6, 24, 0)
    assert not found.estimable
    assert found.shortfall == "not estimable: 0 speakers with 5 utterances, 20 are needed"


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=4), st.sampled_from(["mcadams", "prosody"]), st.booleans())
def test_hardly_any_speakers_are_not_estimable_and_no_error(clips: list[int], method: str, silent: bool) -> None:
    made = [voice for n, count in enumerate(clips) for voice in voices(1, count, seed=n)]
    made = [
        Voice(f"{n}", str(sum(np.cumsum(clips) <= n)), v.raw, v.released * (not silent)) for n, v in enumerate(made)
    ]
    found = speaker_attack(made, method, direction)  # type: ignore[arg-type]
    assert not found.estimable
    known = 0 if silent else sum(count > 1 for count in clips)
    assert found.speakers == known
    assert len(found.attacks) == (4 if known > 1 else 0)
    for attack in found.attacks:
        assert 0 <= attack.eer.low <= attack.eer.value <= attack.eer.high <= 1
        assert list(attack.curve) == sorted(attack.curve)


def test_the_equal_error_rate_of_known_scores() -> None:
    own = np.repeat(np.arange(2), 5)
    scores = np.array([[0.9, 0.1]] * 4 + [[0.2, 0.8]] + [[0.1, 0.9]] * 4 + [[0.8, 0.2]])
    rate, _ = _Trials(scores, own).rates(np.ones(2))
    assert rate == pytest.approx(0.2)
    assert _Trials(np.full((4, 2), 0.5), np.array([0, 0, 1, 1])).rates(np.ones(2))[0] == pytest.approx(0.5)
    assert np.isnan(_Trials(scores, own).rates(np.array([2.0, 0.0]))[0])


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(1, 4), st.integers(0, 99))
def test_weights_are_the_same_as_repeated_speakers(people: int, clips: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    scores, own = random.normal(size=(people * clips, people)), np.repeat(np.arange(people), clips)
    rate, curve = _Trials(scores, own).rates(np.ones(people))
    assert _Trials(scores, own).rates(np.full(people, 3.0))[0] == pytest.approx(rate)
    assert _Trials(np.exp(scores), own).rates(np.ones(people))[0] == pytest.approx(rate, abs=1e-6)
    assert 0 <= rate <= 1
    assert curve[-1][1] == pytest.approx(1.0)


def test_whole_speakers_are_chosen_those_with_enough_first() -> None:
    many = [*voices(3, 2), *(Voice(f"x{n}", "talker", v.raw, v.released) for n, v in enumerate(voices(1, 9)))]
    taken = chosen_voices(many, most=9)
    assert [voice.subject for voice in taken[:6]] == ["talker"] * 6
    assert len(taken) == 8
    assert chosen_voices(voices(1, 1)) == []


def test_a_voice_does_not_show_itself() -> None:
    assert repr(voices(1, 1)[0]) == "Voice(000)"
