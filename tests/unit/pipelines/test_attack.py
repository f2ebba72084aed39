"""Which clips are looked at, and voices attacked by the method that their attestation names."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deemo_dist.deid.audit import speakers
from pipelines import attack


def rows(clips: list[int], voice: str = "world") -> list[Any]:
    """Index rows of so many clips a person."""
    return [
        SimpleNamespace(
            key=f"{clip:02}{person:03}", subject_key=f"{person:03}", attestation=SimpleNamespace(voice=voice)
        )
        for person, count in enumerate(clips)
        for clip in range(count)
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 8), max_size=40), st.integers(0, 400))
def test_no_more_than_the_limit_and_two_of_everybody_before_a_third_of_anybody(clips: list[int], limit: int) -> None:
    taken = attack.chosen(rows(clips), limit)
    assert len(taken) == len({row.key for row in taken}) == min(limit, sum(clips))
    counts = Counter(row.subject_key for row in taken)
    if sum(count >= 5 for count in clips) < 20 or limit < 200:
        wanting = [n for n, count in enumerate(clips) if counts[f"{n:03}"] < min(2, count)]
        assert not wanting or max(counts.values(), default=0) <= 2


def test_speakers_enough_for_an_attack_on_voices_come_with_clips_enough() -> None:
    counts = Counter(row.subject_key for row in attack.chosen(rows([8] * 75), 240))
    assert sum(count >= 5 for count in counts.values()) == 20
    assert (len(counts), min(counts.values())) == (75, 2)
    assert max(Counter(row.subject_key for row in attack.chosen(rows([8] * 75), 199)).values()) <= 4


def test_voices_are_attacked_by_their_method_and_those_without_a_method_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Ear:
        name = "an ear"

        def __call__(self, sounds: list[np.ndarray]) -> list[np.ndarray]:
            return [np.ones(4) / 2 for _ in sounds]

    monkeypatch.setattr(attack, "VoiceReader", Ear)
    monkeypatch.setattr(speakers, "disguised_as", lambda sound, method, shifts: [sound] * len(shifts))
    every = [*rows([2, 2], "sum"), *rows([3, 1], "drop")]
    heard = attack.Heard(raw=np.zeros(160), released=np.zeros(160))
    (found,) = attack.attack_speakers(SimpleNamespace(rows=every[:4]), {row.key: heard for row in every})  # type: ignore[arg-type]
    assert (found.method, found.reader, found.speakers, found.utterances) == ("sum", "an ear", 2, 4)
    assert [item.eer.value for item in found.attacks] == pytest.approx([0.5] * 4)
    assert attack.attack_speakers(SimpleNamespace(rows=every[4:]), {row.key: heard for row in every}) == ()  # type: ignore[arg-type]
    assert attack.attack_speakers(SimpleNamespace(rows=every), {}) == ()  # type: ignore[arg-type]
