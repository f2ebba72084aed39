"""The attackers on real faces: they must find who is not masked, and nobody who is."""

import numpy as np
import pytest

from deemo_dist.deid import geometry
from deemo_dist.deid.audit.clip import RAW, RELEASED, ClipFinding, ClipObserver
from deemo_dist.deid.audit.detectors import FullRange, auditors
from deemo_dist.deid.audit.figures import ALIKE, CLEAR, FACE, HEAD, face_attacks, residual, sensitivity
from deemo_dist.deid.audit.identity import FaceReader
from deemo_dist.deid.faces import masking
from deemo_dist.deid.faces.detectors import CenterFace
from deemo_dist.errors import MediaError
from deemo_dist.media import decode_frames, encode_video
from tests.unit.deid.conftest import footage

PEOPLE = {"clip-carphone": 96, "clip-single-face": 60, "clip-pexels": 480}


def pieces(name: str) -> list[np.ndarray]:
    """Two clips of one person: the first and the last frames of the footage."""
    frames = footage(name, count=PEOPLE[name]).frames
    assert frames is not None
    return [np.ascontiguousarray(part) for part in (frames[:4:2], frames[-4::2])]


def observe(name: str, number: int, raw: np.ndarray, kind: str) -> ClipFinding:
    detect = CenterFace()
    regions = [geometry.snap(geometry.dilate(detect(frame)[0], 0.3), 4, raw.shape[2], raw.shape[1]) for frame in raw]
    masked = raw if kind == RAW else masking.mask(raw, regions, kind=kind)  # type: ignore[arg-type]
    released = decode_frames(encode_video(masked, 25.0), np.arange(len(raw)))
    observer = ClipObserver(
        auditors(), FaceReader(), frames=len(raw), controls=(), boxes={0: regions[0]}, small=FullRange()
    )
    for frame in range(len(raw)):
        observer.see(frame, raw[frame], released[frame])
    return observer.finish(f"{name}-{number}", name)


@pytest.mark.slow
def test_real_people_are_recognised_unmasked_and_not_under_the_fill() -> None:
    clips = [(name, number, raw) for name in PEOPLE for number, raw in enumerate(pieces(name))]
    for kind in (RAW, "fill"):
        found = [observe(name, number, raw, kind) for name, number, raw in clips]
        released = [attack for attack in face_attacks(found) if attack.kind == RELEASED]
        linkage = {(attack.crop, attack.gallery): attack.linkage for attack in released}
        clear, alike, head = linkage[FACE, CLEAR], linkage[FACE, ALIKE], linkage[HEAD, CLEAR]
        assert head is not None
        assert head.match is not None
        assert clear is not None
        assert alike is not None
        assert clear.match is not None
        assert not clear.estimable
        assert sensitivity(found).value == 1.0
        if kind == RAW:
            assert head.rank1.value == head.match.value == 1.0
            assert clear.rank1.value == clear.match.value == alike.rank1.value == 1.0
            assert residual(found).value == 1.0
        else:
            assert head.match.value == clear.match.value == residual(found).value == 0.0
            assert clear.rank1.value < 0.75
            assert max(value for item in found for value in item.correlations) <= 0.1
            assert min(value for item in found for value in item.coverage) > 0.95


def test_without_a_raw_clip_only_the_release_is_looked_at() -> None:
    observer = ClipObserver(auditors(), None, frames=2)
    for number in range(2):
        observer.see(number, None, np.full((64, 64, 3), 90, dtype=np.uint8))
    found = observer.finish("key", "subject")
    assert (found.looks, found.seen, found.residual, dict(found.faces)) == (2, 0, 0, {})
    with pytest.raises(MediaError, match="no frame of clip key was seen"):
        ClipObserver(auditors(), None, frames=0).finish("key", "subject")


class Unsure:
    """A detector that is nowhere sure of its face."""

    name = "a detector"

    def __call__(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.array([[10.0, 10.0, 40.0, 40.0]]), np.array([0.65])


@pytest.mark.parametrize(("known", "raw", "counted"), [(True, False, 3), (True, True, 3), (False, False, 0)])
def test_what_is_left_of_faces_that_were_masked_counts_without_the_raw_clip_too(
    known: bool, raw: bool, counted: int
) -> None:
    frame = np.full((96, 96, 3), 200, dtype=np.uint8)
    observer = ClipObserver(Unsure(), None, frames=3, known=known)
    for number in range(3):
        observer.see(number, frame if raw else None, frame)
    assert observer.finish("key", "subject").residual == counted


def test_a_still_is_a_small_copy_and_none_is_kept_where_no_report_is_drawn() -> None:
    frames = np.full((2, 360, 640, 3), 90, dtype=np.uint8)
    frames[1] = 200
    kept, none = (ClipObserver(Unsure(), None, frames=2, still=still) for still in (True, False))
    for observer in (kept, none):
        for number, frame in enumerate(frames):
            observer.see(number, None, frame)
    still = kept.finish("key", "subject").still
    assert still is not None
    assert not np.shares_memory(still, frames)
    assert (still.shape, int(still.mean()), still.base) == ((124, 220, 3), 200, None)
    assert none.finish("key", "subject").still is None
    tiny = ClipObserver(Unsure(), None, frames=1, still=True)
    tiny.see(0, None, frames[0, :64, :64])
    own = tiny.finish("key", "subject").still
    assert own is not None
    assert own.shape == (64, 64, 3)
    assert not np.shares_memory(own, frames)
