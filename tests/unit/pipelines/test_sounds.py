"""Sounds that are kept of audited clips, and voices attacked by the method that their attestation names."""

import numpy as np
import pytest

from deemo_dist.deid.audit import speakers
from deemo_dist.deid.audit.speakers import LONGEST
from pipelines import sounds
from tests.unit.pipelines.test_attack import rows


def test_whole_sounds_are_kept_of_the_first_keys_and_the_beginning_of_every_other() -> None:
    kept = sounds.Sounds()
    for number in (*range(13, 27), *range(13)):
        long = np.full(2 * LONGEST, float(number), np.float32)
        kept.keep(f"{number:02}", sounds.Heard(raw=long, released=long[: LONGEST // 2]))
    assert sorted(kept.whole) == [f"{number:02}" for number in range(20)]
    assert all(len(heard.raw) == 2 * LONGEST for heard in kept.whole.values())
    assert sorted(kept.begun) == [f"{number:02}" for number in range(20, 27)]
    for key, heard in kept.begun.items():
        assert (len(heard.raw), len(heard.released)) == (LONGEST, LONGEST // 2)
        assert heard.raw.base is None
        assert heard.released.base is None
        assert (heard.raw == float(key)).all()
    assert sorted(kept.voices()) == [f"{number:02}" for number in range(27)]


def test_voices_are_attacked_by_their_method_and_those_without_a_method_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Ear:
        name = "an ear"

        def __call__(self, sounds: list[np.ndarray]) -> list[np.ndarray]:
            return [np.ones(4) / 2 for _ in sounds]

    monkeypatch.setattr(sounds, "VoiceReader", Ear)
    monkeypatch.setattr(speakers, "disguised_as", lambda sound, method, shifts: [sound] * len(shifts))
    every = [*rows([2, 2], "sum"), *rows([3, 1], "drop")]
    heard = sounds.Heard(raw=np.zeros(160), released=np.zeros(160))
    (found,) = sounds.attack_speakers(every[:4], {row.key: heard for row in every})
    assert (found.method, found.reader, found.speakers, found.utterances) == ("sum", "an ear", 2, 4)
    assert [item.eer.value for item in found.attacks] == pytest.approx([0.5] * 4)
    assert sounds.attack_speakers(every[4:], {row.key: heard for row in every}) == ()
    assert sounds.attack_speakers(every, {}) == ()
