"""Masking and its audit, on pictures made for the purpose."""

import numpy as np
import pytest

from deemo_dist.deid.audit.faces import audit_faces, audited, hits_covered
from deemo_dist.deid.faces import masking

REGIONS = [np.array([[8, 8, 40, 44]]), np.zeros((0, 4), dtype=np.int64)]


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)


def brightest(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A detector of white patches."""
    rows, columns = np.nonzero((frame == 255).all(axis=2))
    if not len(rows):
        return np.zeros((0, 4)), np.zeros(0)
    return np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], dtype=float), np.ones(1)


def test_fill_leaves_one_colour_inside_and_everything_outside() -> None:
    raw = noise()
    kept = raw.copy()
    masked = masking.mask(raw, REGIONS, kind="fill")
    assert (masked[0, 8:44, 8:40] == masking.FILL).all()
    assert np.array_equal(masked[1], raw[1])
    assert np.array_equal(raw, kept)
    outside = np.ones((64, 64), dtype=bool)
    outside[8:44, 8:40] = False
    assert np.array_equal(masked[0][outside], raw[0][outside])


@pytest.mark.parametrize("kind", ["mosaic", "blur"])
def test_weak_kinds_keep_the_mean_and_lose_the_detail(kind: str) -> None:
    raw = noise()
    patch = masking.mask(raw, REGIONS, kind=kind)[0, 8:44, 8:40].astype(float)  # type: ignore[arg-type]
    assert abs(patch.mean() - raw[0, 8:44, 8:40].mean()) < 12
    assert patch.std() < 0.5 * raw[0, 8:44, 8:40].std()


def test_regions_are_on_the_grid_and_the_share_counts_overlaps_once() -> None:
    boxes = [np.array([[5.2, 6.1, 20.3, 21.0], [9.0, 9.0, 18.0, 18.0]])]
    regions = masking.pixel_boxes(boxes, 64, 64)
    assert (regions[0] % masking.GRID == 0).all()
    assert masking.masked_share(regions, 64, 64) == pytest.approx(20 * 20 / 64**2)
    assert masking.masked_share([], 64, 64) == 0.0


def test_the_audit_is_out_of_phase_with_detection() -> None:
    assert audited(24, 3)[:3] == [1, 4, 7]
    assert audited(1, 3) == [0]
    assert audited(0, 3) == []
    assert audited(10, 100)[-1] == 9


def test_a_face_outside_the_mask_counts_and_one_inside_does_not() -> None:
    raw = np.zeros((4, 64, 64, 3), dtype=np.uint8)
    raw[:, 10:30, 10:30] = 255
    inside = [np.array([[8, 8, 32, 32]])] * 4
    nowhere = [np.zeros((0, 4), dtype=np.int64)] * 4
    good = audit_faces(raw, masking.mask(raw, inside, kind="fill"), inside, brightest, every=1, with_face=[True] * 4)
    assert (good.frames, good.residual_rate, good.inside, good.sensitivity) == (4, 0.0, 0.0, 1.0)
    bad = audit_faces(raw, raw, nowhere, brightest, every=1, with_face=[False] * 4)
    assert (bad.residual_rate, bad.sensitivity) == (1.0, None)
    seen = audit_faces(raw, raw, inside, brightest, every=1, with_face=[True] * 4)
    assert (seen.residual_rate, seen.inside) == (0.0, 1.0)


def test_an_unsure_hit_counts_unless_the_clip_never_showed_a_face() -> None:
    def unsure(_: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.array([[10.0, 10.0, 30.0, 30.0]]), np.array([0.6])

    raw = np.zeros((4, 64, 64, 3), dtype=np.uint8)
    nowhere = [np.zeros((0, 4), dtype=np.int64)] * 4
    beside = [np.array([[24, 8, 64, 32]])] * 4
    faces = audit_faces(raw, raw, nowhere, unsure, every=1, with_face=[True, False, False, False])
    assert (faces.residual_rate, faces.unsure) == (1.0, 0.0)
    nobody = audit_faces(raw, raw, nowhere, unsure, every=1, with_face=[False] * 4)
    assert (nobody.residual_rate, nobody.unsure) == (0.0, 1.0)
    touching = audit_faces(raw, raw, beside, unsure, every=1, with_face=[False] * 4)
    assert touching.residual_rate == 1.0


def test_hits_reaching_over_the_edge_are_measured() -> None:
    shares = hits_covered(np.array([[-10.0, -10.0, 10.0, 10.0], [50, 50, 60, 60]]), np.array([[0, 0, 8, 8]]))
    assert shares[0] == pytest.approx(64 / 100)
    assert shares[1] == 0.0
