"""The whole of it on real footage: coverage, audit, gates, repeatable bytes, and what an error may say."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from deemo_dist.config import GatesConfig, KeysConfig, PolicyConfig
from deemo_dist.deid import Deidentifier, DeidResult, KeyRing, policy_digest
from deemo_dist.deid.audit.coverage import covered, filled
from deemo_dist.deid.body.people import Bodies, BodyModels, BodyScan
from deemo_dist.deid.faces import masking
from deemo_dist.deid.faces.cover import cover_clip
from deemo_dist.deid.faces.detectors import BlazeFace, CenterFace
from deemo_dist.deid.faces.scan import FaceModels, FaceScan, FaceTracks
from deemo_dist.errors import ConfigError, DeidError
from deemo_dist.media import DecodedClip, MemoryClip, decode_flac
from tests.bench.deid import NoBodies
from tests.unit.deid.conftest import blank, deidentify, footage, make_clip
from tests.unit.deid.scenes import entering

pytestmark = pytest.mark.slow
TALKING = ["clip-carphone", "clip-single-face", "clip-pexels"]


def blind(_: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A detector that finds nothing: the masker's fault the audit must notice."""
    return np.zeros((0, 4)), np.zeros(0)


BLIND = FaceModels(coarse=blind, fine=blind, width=320)
Scan = FaceScan | BodyScan


def scanned(scan: Scan, decoded: DecodedClip) -> Scan:
    """A scan that has seen the clip."""
    for number, time, frame in MemoryClip(decoded).frames():
        scan.see(number, time, frame)
    return scan


def faces_of(decoded: DecodedClip, policy: PolicyConfig) -> FaceTracks:
    return scanned(FaceScan(policy, FaceModels.of(policy)), decoded).finish()  # type: ignore[return-value]


def dense_faces(frames: np.ndarray) -> list[np.ndarray]:
    """Ground truth: every frame looked at, sure faces only."""
    detector = CenterFace(width=320, threshold=0.5)
    return [detector(frame)[0] for frame in frames]


def least_covered(truth: list[np.ndarray], regions: list[np.ndarray], shape: tuple[int, int]) -> float:
    shares = []
    for boxes, masked in zip(truth, regions, strict=True):
        grid = np.zeros(shape, dtype=bool)
        for left, top, right, bottom in masked:
            grid[top:bottom, left:right] = True
        for left, top, right, bottom in np.maximum(boxes, 0).astype(int):
            shares.append(grid[top:bottom, left:right].mean())
    return float(min(shares))


def drop_random(found: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    random = np.random.default_rng(3)
    return {frame: boxes if random.random() > 0.1 else boxes[:0] for frame, boxes in found.items()}


def drop_half_second(found: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    return {frame: boxes[:0] if 20 <= frame < 35 else boxes for frame, boxes in found.items()}


def drop_start(found: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    return {frame: boxes[:0] if frame < 9 else boxes for frame, boxes in found.items()}


def keep(found: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    return found


@pytest.mark.parametrize("name", TALKING)
@pytest.mark.parametrize("drop", [keep, drop_random, drop_half_second, drop_start])
def test_real_faces_stay_covered_when_detections_drop_out(
    name: str, drop: Callable[[dict[int, np.ndarray]], dict[int, np.ndarray]]
) -> None:
    decoded = footage(name)
    assert decoded.frames is not None
    truth = dense_faces(decoded.frames)
    height, width = decoded.frames.shape[1:3]
    found = faces_of(decoded, PolicyConfig())
    found = dataclasses.replace(found, boxes=drop(found.boxes))
    made = cover_clip(found, Bodies({}, {}), [], PolicyConfig(), times=decoded.frame_times, size=(width, height))
    assert sum(len(boxes) for boxes in truth) >= 55
    assert least_covered(truth, made.regions, (height, width)) >= 0.95


@pytest.mark.parametrize("name", TALKING)
def test_heads_placed_by_the_body_cover_faces_on_their_own(name: str) -> None:
    decoded = footage(name, count=30)
    assert decoded.frames is not None
    height, width = decoded.frames.shape[1:3]
    bodies = scanned(BodyScan(BodyModels()), decoded).finish()
    assert isinstance(bodies, Bodies)
    size = (width, height)
    made = cover_clip(FaceTracks({}), bodies, [], PolicyConfig(), times=decoded.frame_times, size=size)
    assert least_covered(dense_faces(decoded.frames), made.regions, (height, width)) >= 0.95


@pytest.mark.parametrize("name", TALKING)
def test_a_talking_head_comes_out_masked_and_attested(deidentifier: Deidentifier, ring: KeyRing, name: str) -> None:
    decoded = footage(name, count=30)
    made, shown = deidentify(deidentifier, make_clip(transcript="I am Anna Keller."), decoded)
    attestation = made.attestation
    assert attestation.residual_face_rate == 0.0
    assert attestation.audit_detector.startswith("BlazeFace")
    assert attestation.figures["audit_sensitivity"] > 0.8
    assert attestation.frames == attestation.frames_with_face == 30
    assert 0.05 < attestation.masked_area < 0.8
    assert attestation.policy_digest == policy_digest(PolicyConfig(), ring.key_id)
    assert (attestation.strength, attestation.voice) == ("strong", "none")
    assert (made.flac, made.samples) == (None, 0)
    assert made.cues.shape == (30, 22, 3)
    assert made.transcript == "I am [PERSON_1]."
    detector = CenterFace(threshold=0.5)
    assert not any(len(detector(frame)[0]) for frame in shown[::5])


def test_a_clip_without_a_person_passes(deidentifier: Deidentifier) -> None:
    made, _ = deidentify(deidentifier, make_clip(), blank())
    assert made.attestation.frames_with_face == 0
    assert made.attestation.masked_area == 0.0
    assert not made.cues.any()
    real, _ = deidentify(deidentifier, make_clip(), footage("clip-no-face", count=95))
    assert real.attestation.frames_with_face == 0
    assert real.attestation.residual_face_rate == 0.0


def test_the_same_clip_gives_the_same_bytes(ring: KeyRing, deidentifier: Deidentifier) -> None:
    time = np.arange(16_000) / 16_000
    sound = (0.3 * np.sign(np.sin(2 * np.pi * 140 * time))).astype(np.float32)
    decoded = dataclasses.replace(footage("clip-single-face", count=24), waveform=sound)
    before = decoded.frames.copy() if decoded.frames is not None else None
    first = deidentify(deidentifier, make_clip(transcript="hello"), decoded)
    second = deidentify(Deidentifier(PolicyConfig(), ring), make_clip(transcript="hello"), decoded)
    assert same(first, second)
    assert first[0].attestation.figures["f0_error_semitones"] < 0.5
    assert before is not None
    assert np.array_equal(before, decoded.frames)
    other, _ = deidentify(deidentifier, make_clip(uri="file:///raw/other.mp4", transcript="hello"), decoded)
    assert first[0].flac != other.flac
    assert first[0].samples == other.samples == 16_000


def same(first: tuple[DeidResult, np.ndarray], second: tuple[DeidResult, np.ndarray]) -> bool:
    (one, shown), (two, again) = first, second
    arrays = [(shown, again), (one.cues, two.cues)]
    equal = one.flac == two.flac and all(np.array_equal(before, after) for before, after in arrays)
    return equal and one.attestation == two.attestation and one.transcript == two.transcript


def test_a_face_the_masker_missed_is_caught_by_the_audit(ring: KeyRing) -> None:
    careless = Deidentifier(PolicyConfig(mask_heads=False, captions="keep", gates=GatesConfig(uncertain=1.0)), ring)
    careless.faces = BLIND
    with pytest.raises(DeidError) as caught:
        deidentify(careless, make_clip(), footage("clip-single-face", count=24))
    assert (caught.value.stage, caught.value.reason) == ("audit", "residual_face")
    assert "anna" not in str(caught.value).lower()


def test_what_the_audit_sees_is_filled_before_it_leaves(ring: KeyRing) -> None:
    gates = GatesConfig(uncertain=1.0, residual_faces=1.0)
    careless = Deidentifier(PolicyConfig(mask_heads=False, captions="keep", audit_every=4, gates=gates), ring)
    careless.faces = BLIND
    made, shown = deidentify(careless, make_clip(), footage("clip-single-face", count=24))
    assert made.attestation.residual_face_rate == 1.0  # what masking had missed is told
    assert made.attestation.figures["mended_frames"] == len(shown) == 24
    auditor = BlazeFace()
    for frame in shown:
        opaque = filled(frame)
        assert all(covered(hit, opaque) >= 0.95 for hit in auditor(frame)[0])


@pytest.mark.slow
def test_a_small_face_the_masker_missed_is_filled_as_long_as_it_may_be_there(ring: KeyRing) -> None:
    """It walks through for a second, between two looks at its tile or three."""
    careless = Deidentifier(
        PolicyConfig(mask_heads=False, captions="keep", gates=GatesConfig(uncertain=1.0, residual_faces=1.0)), ring
    )
    careless.faces = BLIND
    careless.body = NoBodies()
    scene = list(entering("clip-single-face", 30, frames=75, enters=25, leaves=50, speed=3.0))
    frames = np.stack([frame[270:810, 600:1560] for frame, _ in scene])
    clip = DecodedClip(frames=frames, frame_times=np.arange(75) / 25, fps=25.0, waveform=None, sample_rate=16_000)
    made, shown = deidentify(careless, make_clip(), clip)
    assert made.attestation.figures["mended_frames"] >= 25
    for frame, (_, box) in zip(shown, scene, strict=True):
        if box is not None:
            assert covered(box - np.array([600, 270] * 2), filled(frame)) >= 0.95


def test_what_cannot_be_masked_away_ends_in_whole_frames(ring: KeyRing) -> None:
    """A detector that sees a face wherever anything is left to see is given nothing."""

    def haunted(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = np.nonzero(~filled(frame))
        if not len(rows):
            return np.zeros((0, 4)), np.zeros(0)
        place = int(rows[0]), int(columns[0])
        return np.array([[place[1], place[0], place[1] + 8, place[0] + 8]], np.float64), np.array([0.9])

    careless = Deidentifier(PolicyConfig(captions="keep", gates=GatesConfig(uncertain=1.0, residual_faces=1.0)), ring)
    careless.auditor = haunted
    made, shown = deidentify(careless, make_clip(), blank())
    assert made.attestation.residual_face_rate == 1.0
    assert all(filled(frame).all() for frame in shown)


def test_a_body_without_a_face_is_uncertain_where_heads_are_not_masked(ring: KeyRing) -> None:
    policy = dataclasses.replace(PolicyConfig(), mask_heads=False, gates=GatesConfig(residual_faces=1.0))
    careless = Deidentifier(policy, ring)
    careless.faces = BLIND
    with pytest.raises(DeidError) as caught:
        deidentify(careless, make_clip(), footage("clip-carphone", count=24))
    assert (caught.value.stage, caught.value.reason) == ("faces", "uncertain")


def test_pose_covers_for_a_blind_face_detector(ring: KeyRing) -> None:
    lucky = Deidentifier(PolicyConfig(), ring)
    lucky.faces = BLIND
    made, _ = deidentify(lucky, make_clip(), footage("clip-carphone", count=24))
    assert made.attestation.residual_face_rate == 0.0
    assert made.attestation.frames_with_face == 0
    assert made.attestation.figures["masked_frames"] == 24


def test_frames_are_looked_at_more_closely_where_a_face_comes_or_goes() -> None:
    decoded = footage("clip-single-face", count=24)
    assert decoded.frames is not None
    frames = decoded.frames.copy()
    frames[:11] = 90
    found = faces_of(dataclasses.replace(decoded, frames=frames), PolicyConfig(detect_every=6)).boxes
    assert {7, 8, 9, 10, 11} <= set(found)
    assert 14 not in found
    assert min(number for number, boxes in found.items() if len(boxes)) == 11


@pytest.mark.parametrize(
    "frames", [None, np.zeros((0, 64, 64, 3), dtype=np.uint8), np.zeros((2, 64, 64), dtype=np.uint8)]
)
def test_what_is_no_clip_is_no_source(frames: np.ndarray | None) -> None:
    with pytest.raises(ValueError, match="frames"):
        MemoryClip(dataclasses.replace(blank(), frames=frames))


def test_what_is_no_video_is_rejected(deidentifier: Deidentifier) -> None:
    for frames, reason in ((np.zeros((12, 8, 64, 3), np.uint8), "too_small"), (np.zeros((12, 64, 64, 3)), "failed")):
        with pytest.raises(DeidError) as caught:
            deidentify(deidentifier, make_clip(), dataclasses.replace(blank(), frames=frames))
        assert caught.value.reason == reason


def test_a_fault_inside_a_stage_rejects_the_clip_without_quoting_it(ring: KeyRing) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("file:///raw/anna_keller_01.mp4 says: I am Anna Keller")

    faulty = Deidentifier(PolicyConfig(), ring)
    faulty.words = broken  # type: ignore[assignment]
    with pytest.raises(DeidError) as caught:
        deidentify(faulty, make_clip(transcript="I am Anna Keller"), blank())
    assert (caught.value.stage, caught.value.reason) == ("words", "failed")
    assert "anna" not in str(caught.value).lower()
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_the_shortest_clips_work(deidentifier: Deidentifier, frames: int) -> None:
    decoded = footage("clip-single-face", count=frames)
    decoded = dataclasses.replace(decoded, waveform=np.full(7, 0.1, dtype=np.float32))
    made, _ = deidentify(deidentifier, make_clip(), decoded)
    assert made.attestation.frames_with_face == frames
    assert made.flac is not None
    assert len(decode_flac(made.flac)) == made.samples == 7


def test_a_weak_policy_says_so_and_masks_as_it_says(ring: KeyRing) -> None:
    policy = dataclasses.replace(PolicyConfig(), name="paper", faces="blur", voice="mcadams")
    decoded = footage("clip-carphone", count=12)
    policy = dataclasses.replace(policy, gates=GatesConfig(residual_faces=1.0, pixel_correlation=None))
    made, shown = deidentify(Deidentifier(policy, ring), make_clip(), decoded)
    assert made.attestation.strength == "weak"
    assert made.attestation.figures["pixel_correlation"] > 0.1
    assert not (shown == masking.FILL).all(axis=-1).any(axis=(1, 2)).all()


def test_strict_refuses_the_demo_key_before_any_model_is_loaded() -> None:
    strict = dataclasses.replace(PolicyConfig(), name="strict", allow_demo_key=False)
    with pytest.raises(ConfigError, match="demo key"):
        Deidentifier(strict, KeyRing.open(KeysConfig(source="demo")))


def test_the_audit_sees_faces_in_a_large_frame() -> None:
    frames = footage("clip-single-face", count=1).frames
    assert frames is not None
    wide = np.full((1080, 1920, 3), 120, dtype=np.uint8)
    wide[100 : 100 + frames.shape[1], 60 : 60 + frames.shape[2]] = frames[0]
    assert len(BlazeFace()(wide)[0]) >= 1


def test_decoded_clip_of_the_fixture_is_what_media_gives() -> None:
    assert isinstance(blank(), DecodedClip)
