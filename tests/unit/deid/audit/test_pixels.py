import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deemo_dist.deid.audit.pixels import PROBES, SMALL, PixelProbe, correlation
from deemo_dist.deid.faces import masking
from deemo_dist.media import decode_frames, encode_video
from tests.unit.deid.conftest import footage


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 4.0), st.integers(-40, 40))
def test_correlation_is_bounded_and_blind_to_contrast_and_sign(seed: int, gain: float, shift: int) -> None:
    raw = np.random.default_rng(seed).integers(0, 255, (20, 20)).astype(np.float64)
    assert correlation(raw, gain * raw + shift) == pytest.approx(1.0)
    assert correlation(raw, -raw) == pytest.approx(1.0)
    other = np.random.default_rng(seed + 1).integers(0, 255, (20, 20))
    assert 0 <= correlation(raw, other) <= 0.3
    assert correlation(raw, np.full((20, 20), 32)) == 0.0


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (64, 96, 3), dtype=np.uint8)


def test_the_worst_region_counts_and_those_that_are_all_rim_do_not() -> None:
    raw = noise(0)
    half = masking.mask(raw[None], [np.array([[0, 0, 48, 64]])], kind="fill")[0]
    for regions, worst in (
        ([[0, 0, 48, 64], [60, 5, 60 + SMALL - 1, 64]], 0.0),
        ([[0, 0, 48, 64], [60, 5, 60 + SMALL, 64]], 1.0),
        ([[4, 4, 4 + SMALL, 4 + SMALL]], 0.0),
        ([[0, 0, 48, 64], [48, 0, 96, 64]], 1.0),
    ):
        probe = PixelProbe()
        probe.see(0, raw, np.array(regions))
        assert probe.against(lambda _: half) == pytest.approx(worst, abs=0.01)
    probe = PixelProbe()
    probe.see(0, raw, np.zeros((0, 4), np.int64))
    assert probe.against(lambda _: half) is None


@given(st.integers(1, 200))
@settings(max_examples=20, deadline=None)
def test_a_few_frames_spread_over_the_clip_are_read_again(frames: int) -> None:
    probe, asked = PixelProbe(), list[int]()
    raw = noise(1)
    for number in range(frames):
        probe.see(number, raw, np.array([[0, 0, 48, 64]]))

    def shown(number: int) -> np.ndarray:
        asked.append(number)
        return raw

    assert probe.against(shown) == pytest.approx(1.0)
    assert min(frames, PROBES // 2) <= len(asked) <= PROBES
    assert asked[-1] >= frames - 1 - max(1, 4 * frames // PROBES)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clip-carphone", "clip-single-face", "clip-pexels"])
def test_the_fill_of_real_clips_passes_the_gate_and_a_frame_left_open_does_not(name: str) -> None:
    raw = footage(name, count=48).frames
    assert raw is not None
    height, width = raw.shape[1:3]
    for side in (16, 20, 28, *(int(share * height) // 4 * 4 for share in (0.15, 0.3, 0.6))):
        left, top = (width - side) // 8 * 4, (height - side) // 8 * 4
        region = np.array([[left, top, left + side, top + side]])
        masked = masking.mask(raw, [region] * len(raw), kind="fill")
        probe, leaky = PixelProbe(), masked.copy()
        for number in range(0, 48, 4):
            probe.see(number, raw[number], region)
        leaky[20] = raw[20]
        good, bad = (encode_video(frames, 25.0) for frames in (masked, leaky))
        assert probe.against(lambda number, file=good: decode_frames(file, [number])[0]) < 0.1
        if side >= SMALL:
            assert probe.against(lambda number, file=bad: decode_frames(file, [number])[0]) > 0.5
