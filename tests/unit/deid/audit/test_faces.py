from collections.abc import Iterator

import numpy as np
import pytest

from deemo_dist.config import PolicyConfig
from deemo_dist.deid.audit.faces import ClipAudit, FaceAudit, covered_share, hits_covered
from deemo_dist.deid.faces import masking

NOWHERE = np.zeros((0, 4), dtype=np.int64)
BOX = np.array([[0, 0, 32, 32]])


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
    released = []
    for number, raw in enumerate(clip(frames)):
        released.append(masking.mask(raw[None], [regions], kind=kind)[0])  # type: ignore[arg-type]
        found.see(number, number / 25, raw, released[-1], regions)
    return found.finish(released.__getitem__)


@pytest.mark.parametrize(("frames", "every", "looked"), [(24, 3, 9), (1, 3, 1), (0, 3, 0), (10, 100, 1), (7, 1, 7)])
def test_every_so_many_frames_and_the_last_are_audited(frames: int, every: int, looked: int) -> None:
    assert audit(frames, every, regions=BOX).frames == looked


@pytest.mark.parametrize(("rate", "looked"), [(1, 12), (2, 12), (4, 6), (8, 5), (24, 5), (30, 5)])
def test_a_slow_clip_is_audited_twice_a_second(rate: float, looked: int) -> None:
    found = ClipAudit(PolicyConfig(), brightest)
    for number, raw in enumerate(clip(12)):
        found.see(number, number / rate, raw, raw, NOWHERE)
    assert found.finish(lambda number: np.zeros((32, 40, 3), np.uint8)).frames == looked


def test_a_covered_face_is_neither_seen_nor_correlated() -> None:
    found = audit(12, 2, regions=BOX)
    assert (found.residual_rate, found.inside, found.sensitivity, found.pixel_correlation) == (0.0, 0.0, 1.0, 0.0)


def test_an_uncovered_face_is_found_and_nothing_was_masked() -> None:
    found = audit(12, 2, regions=NOWHERE)
    assert found.residual_rate == 1.0
    assert found.pixel_correlation is None


@pytest.mark.parametrize(("kind", "count"), [("fill", 4), ("blur", 0)])
def test_a_face_that_lies_partly_outside_is_open_and_does_not_count(kind: str, count: int) -> None:
    """Not where a published method is reproduced: its masks stay as they are."""
    most = np.array([[0, 0, 32, 17]])  # of a face in rows 10 to 20
    whole = np.array([[10.0, 10.0, 20.0, 20.0]]), np.array([0.9])
    found = ClipAudit(PolicyConfig(audit_every=1, faces=kind), lambda frame: whole)  # type: ignore[arg-type]
    for number, raw in enumerate(clip(3)):
        found.see(number, number / 25, raw, masking.mask(raw[None], [most], kind=kind)[0], most)  # type: ignore[arg-type]
    openings = found.openings()
    assert len(openings) == count
    assert {(opening.first, opening.last) for opening in openings} <= {(0, 0), (0, 1), (1, 2), (2, 2)}
    assert found.finish(None).residual_rate == 0.0


def test_a_small_face_is_open_from_the_last_look_at_its_tile_to_the_next() -> None:
    """The audit's whole picture is blind to it; its tile is looked at once in a round of eight looks."""
    found = ClipAudit(PolicyConfig(audit_every=3), nothing, small=Small(0.9))
    shown = range(110, 130)
    for number in range(240):
        raw = np.full((540, 960, 3), 90, np.uint8)
        if number in shown:
            raw[300:316, 700:716] = 255
        found.see(number, number / 30, raw, raw, NOWHERE)
    openings = found.openings()
    assert openings
    hidden = {number for opening in openings for number in range(opening.first, opening.last + 1)}
    assert hidden >= set(shown)
    assert all((opening.box[:2] <= [700, 300]).all() and (opening.box[2:] >= [716, 316]).all() for opening in openings)
    assert 0 < found.finish(None).residual_rate < 0.2


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


def test_overlapping_regions_cover_once() -> None:
    assert covered_share(np.array([0, 0, 10, 10]), np.array([[0, 0, 5, 10], [2, 0, 5, 10]])) == 0.5


def seen_in(frames: np.ndarray, regions: np.ndarray, detector: object, *, shown: tuple[int, ...]) -> FaceAudit:
    """The audit of frames that are released as they are; ``shown``: frames with a face that the masker saw."""
    found = ClipAudit(PolicyConfig(audit_every=1), detector, detected=shown)  # type: ignore[arg-type]
    for number, frame in enumerate(frames):
        found.see(number, number / 25, frame, frame, regions)
    return found.finish(frames.__getitem__)


def test_a_face_seen_within_the_mask_is_told_from_one_outside() -> None:
    raw = np.zeros((4, 64, 64, 3), dtype=np.uint8)
    raw[:, 10:30, 10:30] = 255
    outside = seen_in(raw, NOWHERE, brightest, shown=())
    assert (outside.residual_rate, outside.inside, outside.sensitivity) == (1.0, 0.0, None)
    inside = seen_in(raw, np.array([[0, 0, 48, 48]]), brightest, shown=(0, 1, 2, 3))
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
    hits = np.array([[-10.0, -10.0, 10.0, 10.0], [90, 50, 110, 70], [50, 50, 60, 60], [120, 0, 130, 10]])
    shares = hits_covered(hits, np.array([[0, 0, 8, 8], [90, 50, 100, 56]]), (60, 100, 3))
    assert shares == pytest.approx([64 / 100, 6 / 10, 0.0, 0.0])


def test_what_was_written_is_compared_and_not_what_was_meant_to_be() -> None:
    raws = list(clip(12))
    found = ClipAudit(PolicyConfig(), brightest)
    for number, raw in enumerate(raws):
        found.see(number, number / 25, raw, masking.mask(raw[None], [BOX], kind="fill")[0], BOX)
    assert found.finish(raws.__getitem__).pixel_correlation == pytest.approx(1.0)  # a writer that mixed up its frames


class Small:
    """A detector of white squares up to 20 px wide: as good a score as it was told."""

    def __init__(self, score: float) -> None:
        self.score, self.shown = score, 0

    def __call__(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.shown += 1
        boxes, _ = brightest(frame)
        return (boxes, np.full(len(boxes), self.score)) if len(frame) <= 256 else (np.zeros((0, 4)), np.zeros(0))


def nothing(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((0, 4)), np.zeros(0)


@pytest.mark.parametrize("frames", [1, 5, 40])
@pytest.mark.parametrize(("score", "rates"), [(0.9, (1.0, 0.0)), (0.7, (0.0, 1.0))])
def test_a_small_face_that_is_there_all_the_time_is_found_in_every_round(
    frames: int, score: float, rates: tuple[float, float]
) -> None:
    raw = np.full((540, 960, 3), 90, np.uint8)
    raw[300:320, 700:720] = 255
    found = ClipAudit(PolicyConfig(audit_every=1), nothing, detected=(0,), small=Small(score))
    for number in range(frames):
        found.see(number, number / 25, raw, raw, NOWHERE)
    made = found.finish(lambda number: raw)
    assert (made.residual_rate, made.unsure) == rates
    masked = ClipAudit(PolicyConfig(audit_every=1), nothing, detected=(0,), small=Small(score))
    for number in range(frames):
        masked.see(number, number / 25, raw, raw, np.array([[690, 290, 730, 330]]))
    made = masked.finish(lambda number: np.full_like(raw, 32))
    assert (made.residual_rate, made.unsure) == (0.0, 0.0)


def test_a_leak_of_a_few_frames_counts_as_a_round() -> None:
    raw = np.full((540, 960, 3), 90, np.uint8)
    shown = raw.copy()
    shown[300:320, 700:720] = 255
    found = ClipAudit(PolicyConfig(audit_every=1), nothing, detected=(0,), small=Small(0.9))
    for number in range(80):
        frame = shown if 40 <= number < 48 else raw
        found.see(number, number / 25, frame, frame, NOWHERE)
    assert found.finish(lambda number: raw).residual_rate == pytest.approx(0.1)


def test_text_that_is_left_is_looked_for_now_and_then_and_reported() -> None:
    shown: list[int] = []

    def text(frame: np.ndarray) -> np.ndarray:
        shown.append(1)
        return np.array([[4.0, 4, 24, 12]])

    for regions, rate in ((NOWHERE, 1.0), (np.array([[0, 0, 40, 16]]), 0.0)):
        shown.clear()
        found = ClipAudit(PolicyConfig(), nothing, text=text)
        for number, raw in enumerate(clip(300)):
            found.see(number, number / 25, raw, raw, regions)
        assert found.finish(lambda number: np.zeros((32, 40, 3), np.uint8)).residual_text == rate
        assert len(shown) == 3
    assert audit(12, 2, regions=BOX).residual_text is None
