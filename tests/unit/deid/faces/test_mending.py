"""Frames that wait for the audit's word: each leaves once, in order, filled about every look that showed something."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deemo_dist.config import PolicyConfig
from deemo_dist.deid.faces import masking
from deemo_dist.deid.faces.mending import Mending

NOTHING = np.zeros((0, 4))
FACE = np.array([[8.0, 8.0, 16.0, 16.0]])


@given(st.integers(1, 25), st.dictionaries(st.integers(0, 24), st.booleans(), max_size=8), st.booleans())
def test_every_frame_leaves_once_and_is_filled_from_look_to_look_about_a_face(
    frames: int, looks: dict[int, bool], last: bool
) -> None:
    times, filled = list[float](), list[bool]()

    def write(frame: np.ndarray, time: float) -> None:
        times.append(time)
        filled.append(bool((frame[8:16, 8:16] == masking.FILL).all()))
        assert (frame[24:] == 200).all()

    mending = Mending(PolicyConfig(), write)
    for number in range(frames):
        mending.hold(np.full((32, 32, 3), 200, np.uint8), float(number))
        if number in looks:
            mending.looked(FACE if looks[number] else NOTHING)
            assert times == list(range(number))
    mending.finish(FACE if last else NOTHING)
    assert times == list(range(frames))
    seen = {**{number: shows for number, shows in looks.items() if number < frames}, frames: last}
    for number, shown in enumerate(filled):
        before = max((look for look in seen if look <= number), default=-1)
        after = min(look for look in seen if look > number)
        assert shown == (seen.get(before, False) or seen[after])
    assert mending.frames == sum(filled)


def test_a_frame_that_is_held_is_not_changed_for_others() -> None:
    frame, out = np.full((32, 32, 3), 200, np.uint8), []
    mending = Mending(PolicyConfig(), lambda shown, _: out.append(shown))
    mending.hold(frame, 0.0)
    mending.finish(FACE)
    assert (frame == 200).all()
    assert (out[0] != 200).any()
