"""Masking, on pictures made for the purpose."""

import numpy as np
import pytest

from deemo_dist.deid.faces import masking

REGIONS = [np.array([[8, 8, 40, 44]]), np.zeros((0, 4), dtype=np.int64)]


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)


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
