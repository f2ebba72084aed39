from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deemo_dist.config import PolicyConfig
from deemo_dist.deid.audit.faces import (
    ClipAudit,
    FaceAudit,
    correlation,
    covered_share,
    hits_covered,
    masked_correlation,
)
from deemo_dist.deid.faces import masking

NOWHERE = np.zeros((0, 4), dtype=np.int64)
BOX = np.array([[8, 8, 24, 24]])


def brightest(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A detector of white squares that says which frames it was shown."""
    rows, columns = np.nonzero(frame[..., 0] > 250)
    if not len(rows):
        return np.zeros((0, 4)), np.zeros(0)
    return np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], dtype=np.float64), np.array([0.9])


def clip(frames: int) -> Iterator[np.ndarray]:
    random = np.random.default_rng(frames)
    for _ in range(frames):
        frame = random.integers(40, 200, (32, 40, 3), dtype=np.uint8)
        frame[10:20, 10:20] = 255
        yield frame


def audit(
    frames: int, every: int, *, regions: np.ndarray, kind: str = "fill", detector: object = brightest
) -> FaceAudit:
    found = ClipAudit(PolicyConfig(audit_every=every), detector)  # type: ignore[arg-type]
    for number, raw in enumerate(clip(frames)):
        masked = masking.mask(raw[None], [regions], kind=kind)[0]  # type: ignore[arg-type]
        found.see(number, number / 25, raw, masked, regions)
    return found.finish()


@pytest.mark.parametrize(("frames", "every", "looked"), [(24, 3, 9), (1, 3, 1), (0, 3, 0), (10, 100, 1), (7, 1, 7)])
def test_every_so_many_frames_and_the_last_are_audited(frames: int, every: int, looked: int) -> None:
    assert audit(frames, every, regions=BOX).frames == looked


def test_a_covered_face_is_neither_seen_nor_correlated() -> None:
    found = audit(12, 2, regions=BOX)
    assert (found.residual_rate, found.inside, found.sensitivity, found.pixel_correlation) == (0.0, 0.0, 1.0, 0.0)


def test_an_uncovered_face_is_found_and_nothing_was_masked() -> None:
    found = audit(12, 2, regions=NOWHERE)
    assert found.residual_rate == 1.0
    assert found.pixel_correlation is None


@pytest.mark.parametrize("kind", ["mosaic", "blur"])
def test_what_blur_and_mosaic_leave_is_correlated(kind: str) -> None:
    found = audit(6, 1, regions=BOX, kind=kind)
    assert found.pixel_correlation is not None
    assert found.pixel_correlation > 0.5


def test_frames_that_are_not_audited_cost_nothing() -> None:
    shown = 0

    def counting(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nonlocal shown
        shown += 1
        return brightest(frame)

    audit(30, 5, regions=BOX, detector=counting)
    assert shown == 7 + 3


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 4.0), st.integers(-40, 40))
def test_correlation_is_bounded_and_blind_to_contrast_and_sign(seed: int, gain: float, shift: int) -> None:
    raw = np.random.default_rng(seed).integers(0, 255, (20, 20)).astype(np.float64)
    assert correlation(raw, gain * raw + shift) == pytest.approx(1.0)
    assert correlation(raw, -raw) == pytest.approx(1.0)
    other = np.random.default_rng(seed + 1).integers(0, 255, (20, 20))
    assert 0 <= correlation(raw, other) <= 0.3
    assert correlation(raw, np.full((20, 20), 32)) == 0.0


def test_the_worst_region_counts_and_empty_ones_do_not() -> None:
    raw = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    half = masking.mask(raw[None], [np.array([[0, 0, 16, 32]])], kind="fill")[0]
    assert masked_correlation(raw, half, np.array([[0, 0, 16, 32], [5, 5, 5, 9]])) == 0.0
    assert masked_correlation(raw, half, np.array([[0, 0, 16, 32], [16, 0, 32, 32]])) == pytest.approx(1.0)


def test_overlapping_regions_cover_once() -> None:
    assert covered_share(np.array([0, 0, 10, 10]), np.array([[0, 0, 5, 10], [2, 0, 5, 10]])) == 0.5


def seen_in(frames: np.ndarray, regions: np.ndarray, detector: object, *, shown: tuple[int, ...]) -> FaceAudit:
    """The audit of frames that are released as they are; ``shown``: frames with a face that the masker saw."""
    found = ClipAudit(PolicyConfig(audit_every=1), detector, detected=shown)  # type: ignore[arg-type]
    for number, frame in enumerate(frames):
        found.see(number, number / 25, frame, frame, regions)
    return found.finish()


def test_a_face_seen_within_the_mask_is_told_from_one_outside() -> None:
    raw = np.zeros((4, 64, 64, 3), dtype=np.uint8)
    raw[:, 10:30, 10:30] = 255
    outside = seen_in(raw, NOWHERE, brightest, shown=())
    assert (outside.residual_rate, outside.inside, outside.sensitivity) == (1.0, 0.0, None)
    inside = seen_in(raw, np.array([[8, 8, 32, 32]]), brightest, shown=(0, 1, 2, 3))
    assert (inside.residual_rate, inside.inside, inside.pixel_correlation) == (0.0, 1.0, pytest.approx(1.0))


def test_an_unsure_hit_counts_unless_the_clip_never_showed_a_face() -> None:
    def unsure(_: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.array([[10.0, 10.0, 30.0, 30.0]]), np.array([0.6])

    raw = np.zeros((4, 64, 64, 3), dtype=np.uint8)
    faces = seen_in(raw, NOWHERE, unsure, shown=(0,))
    assert (faces.residual_rate, faces.unsure) == (1.0, 0.0)
    nobody = seen_in(raw, NOWHERE, unsure, shown=())
    assert (nobody.residual_rate, nobody.unsure) == (0.0, 1.0)
    assert seen_in(raw, np.array([[24, 8, 64, 32]]), unsure, shown=()).residual_rate == 1.0


def test_hits_reaching_over_the_edge_are_measured() -> None:
    shares = hits_covered(np.array([[-10.0, -10.0, 10.0, 10.0], [50, 50, 60, 60]]), np.array([[0, 0, 8, 8]]))
    assert shares[0] == pytest.approx(64 / 100)
    assert shares[1] == 0.0
