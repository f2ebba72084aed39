"""People beside the main one, and people lost within a scene: where a head is not clear, ``frame`` masks all."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from deemo_dist.config import PolicyConfig
from deemo_dist.deid.body.people import Bodies, BodyModels, BodyScan
from deemo_dist.deid.faces.company import unclear_spans
from deemo_dist.deid.faces.cover import Cover, cover_clip
from deemo_dist.deid.faces.detectors import FaceDetector
from deemo_dist.deid.faces.scan import FaceModels, FaceScan
from tests.unit.deid.conftest import footage

SIZE = (640, 480)
MAIN, OTHER = np.array([[80.0, 100, 160, 200]]), np.array([[400.0, 100, 480, 200]])
NOBODY = np.zeros((0, 4))
COUNTS = (0, 12, 24, 36)


def spans(
    others: dict[int, np.ndarray] | None = None,
    faces: np.ndarray = MAIN,
    *,
    heads: dict[int, np.ndarray] | None = None,
    cuts: tuple[int, ...] = (),
) -> list[range]:
    bodies = Bodies(poses={}, heads=heads or {}, others=others or {})
    return unclear_spans(bodies, [faces] * 48, cuts, gap=13, size=SIZE)


def test_a_head_beside_the_main_person_without_a_face_is_unclear_from_count_to_count() -> None:
    others = {number: OTHER if number == 12 else NOBODY for number in COUNTS}
    assert range(1, 24) in spans(others)
    assert range(1, 24) not in spans(others, np.concatenate([MAIN, OTHER + 5]))


def test_everybody_with_a_face_of_their_own_is_clear() -> None:
    assert spans(dict.fromkeys(COUNTS, OTHER), np.concatenate([MAIN, OTHER + 5])) == []
    assert spans(dict.fromkeys(COUNTS, OTHER + np.array([230, 0, 230, 0]))) == []  # hardly in the frame
    assert spans(dict.fromkeys(COUNTS, NOBODY)) == []


def test_who_is_lost_within_a_scene_is_unclear_until_the_second_look_without() -> None:
    heads = {number: MAIN if number <= 12 else NOBODY for number in range(0, 48, 6)}
    assert spans(heads=heads, faces=NOBODY) == [range(13, 24)]
    assert spans(heads=heads, faces=MAIN) == []  # the face is still there
    assert spans(heads=heads, faces=NOBODY, cuts=(13,)) == []
    assert spans(heads={**heads, 18: MAIN + 4, 24: MAIN, 30: MAIN, 36: MAIN, 42: MAIN}, faces=NOBODY) == []


def test_who_leaves_at_the_edge_is_gone() -> None:
    gone = MAIN + np.array([-70, 0, -70, 0])
    assert spans(heads={number: gone if number <= 12 else NOBODY for number in range(0, 48, 6)}, faces=NOBODY) == []


def two_people(frames: int = 24) -> Iterator[np.ndarray]:
    """Two talking people side by side, uint8 [288, 704, 3]."""
    import cv2

    first, second = (footage(name, count=frames).frames for name in ("clip-single-face", "clip-carphone"))
    assert first is not None
    assert second is not None
    for one, other in zip(first, second, strict=True):
        yield np.concatenate([cv2.resize(each, (352, 288)) for each in (one, other)], axis=1)


def blind_beyond(detector: FaceDetector, column: float) -> FaceDetector:
    """A detector that sees nothing to the right of ``column``."""

    def look(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        boxes, scores = detector(frame)
        kept = boxes[:, 2] <= column * frame.shape[1] / 704
        return boxes[kept], scores[kept]

    return look  # type: ignore[return-value]


@pytest.fixture(scope="module")
def bodies() -> Bodies:
    scan = BodyScan(BodyModels())
    for number, frame in enumerate(two_people()):
        scan.see(number, number / 24, frame)
    return scan.finish()


def covered(bodies: Bodies, policy: PolicyConfig, *, blind: bool) -> Cover:
    models = FaceModels.of(policy)
    if blind:
        models = replace(models, coarse=blind_beyond(models.coarse, 352), fine=blind_beyond(models.fine, 352), far=())
    scan = FaceScan(policy, models)
    for number, frame in enumerate(two_people()):
        scan.see(number, number / 24, frame)
    return cover_clip(scan.finish(), bodies, [], policy, times=np.arange(24) / 24, size=(704, 288))


def whole(cover: Cover) -> int:
    """Frames that are masked whole."""
    return sum(any((box == [0, 0, 704, 288]).all() for box in boxes) for boxes in cover.regions)


def test_with_two_people_both_clear_both_modes_mask_the_same(bodies: Bodies) -> None:
    assert sum(len(boxes) for boxes in bodies.others.values()) >= 2
    usual, careful = (covered(bodies, PolicyConfig(uncertain=mode), blind=False) for mode in ("head", "frame"))
    assert usual.unclear_frames == careful.unclear_frames == whole(careful) == 0
    assert all(np.array_equal(*boxes) for boxes in zip(usual.regions, careful.regions, strict=True))


def test_with_two_people_one_of_them_unclear_the_frames_are_masked_whole(bodies: Bodies) -> None:
    usual, careful = (covered(bodies, PolicyConfig(uncertain=mode), blind=True) for mode in ("head", "frame"))
    assert whole(usual) == 0
    assert whole(careful) == careful.unclear_frames == 24
    assert usual.unclear_spans == careful.unclear_spans > 0
