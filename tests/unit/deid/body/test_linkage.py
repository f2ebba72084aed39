"""Cues that carry a person's proportions are linked; cues that carry none are not."""

import numpy as np
import pytest

from deemo_dist.deid.body.linkage import describe, subject_linkage


def tracks(own: float, people: int = 6, clips: int = 4) -> tuple[list[np.ndarray], list[str]]:
    """Random movement, and ``own`` of it the person's."""
    rng = np.random.default_rng(0)
    made, names = [], []
    for person in range(people):
        shape = rng.normal(0, own, (22, 2))
        for _ in range(clips):
            track = np.ones((12, 22, 3), dtype=np.float16)
            track[..., :2] = shape + rng.normal(0, 0.3, (12, 22, 2)).cumsum(axis=0) * 0.2
            made.append(track)
            names.append(f"subject {person}")
    return made, names


@pytest.mark.slow
def test_proportions_link_and_their_absence_does_not() -> None:
    known = subject_linkage(*tracks(own=1.0))
    assert known is not None
    assert known.rank1.value >= 0.9
    assert known.rank1.low > known.chance == 1 / 6
    unknown = subject_linkage(*tracks(own=0.0))
    assert unknown is not None
    assert unknown.rank1.low <= unknown.chance


def test_too_few_people_are_not_estimated() -> None:
    made, names = tracks(own=1.0, people=2, clips=2)
    assert subject_linkage(made[:3], names[:3]) is None
    assert subject_linkage([], []) is None
    assert subject_linkage([np.zeros((4, 22, 3))] * 4, names) is None


def test_a_description_of_one_frame_is_finite() -> None:
    assert np.isfinite(describe(tracks(1.0)[0][0][:1])).all()


@pytest.mark.parametrize("clips", [[], [1], [2], [1, 1], [2, 1], [5, 1], [2, 2], [3, 2, 1]])
def test_a_few_clips_of_a_few_people_are_estimated_or_said_not_to_be(clips: list[int]) -> None:
    made, _ = tracks(own=1.0, people=1, clips=sum(clips))
    found = subject_linkage(made, [f"subject {person}" for person, count in enumerate(clips) for _ in range(count)])
    people = sum(count >= 2 for count in clips)
    assert (found is None) == (people < 2)
    if found is not None:
        assert found.subjects == people
        assert found.rank1.count == sum(count for count in clips if count >= 2)
        assert 0 <= found.rank1.low <= found.rank1.value <= found.rank1.high <= 1


def test_with_two_clips_each_discriminants_have_no_spread_to_learn() -> None:
    found = subject_linkage(*tracks(own=1.0, people=6, clips=2))
    assert found is not None
    assert found.attacker == "random forest"
