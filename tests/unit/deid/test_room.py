"""Models that are put away between the stages of a long clip: they come back as they were."""

import weakref

import numpy as np
import pytest

from deemo_dist.deid import Deidentifier, runtime
from deemo_dist.deid.faces.detectors import BlazeFace, CenterFace
from deemo_dist.deid.text import gazetteer
from tests.unit.deid.conftest import make_clip
from tests.unit.deid.test_deidentifier import deidentify, footage, same


def test_a_network_that_was_put_away_finds_the_same() -> None:
    frame = footage("clip-single-face", count=1).frames[0]  # type: ignore[index]
    for detector in (CenterFace(), BlazeFace()):
        before = detector(frame)
        assert len(before[0])
        held = weakref.ref(detector._network._running if isinstance(detector, CenterFace) else detector._network)
        runtime.Network.put_away()
        assert detector._network._loaded is None
        assert not isinstance(detector, CenterFace) or held() is None, "nothing else holds the session"
        after = detector(frame)
        assert all(np.array_equal(one, two) for one, two in zip(before, after, strict=True))


@pytest.mark.slow
def test_a_clip_through_models_that_rest_gives_the_same_bytes(
    deidentifier: Deidentifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip(transcript="My name is Anna Keller.")
    shown = footage("clip-single-face", count=12)
    first = deidentify(deidentifier, clip, shown)
    monkeypatch.setattr("deemo_dist.deid.deidentifier.LARGE", 0)
    monkeypatch.setattr("deemo_dist.deid.deidentifier.LONG", 0.0)
    second = deidentify(deidentifier, clip, shown)
    assert deidentifier.words._loaded is None
    assert gazetteer.gazetteer.cache_info().currsize == 0
    assert second[0].transcript == "My name is [PERSON_1]."
    assert same(first, second)
    assert same(first, deidentify(deidentifier, clip, shown))
