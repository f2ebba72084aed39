import json
from pathlib import Path

import numpy as np
import pytest

from deemo_dist.digests import sha256_bytes
from deemo_dist.errors import DeemoError, StorageError
from deemo_dist.media import Bounds, decode_here, probe
from deemo_dist.samples import generate_clips, plan_clips, read_jsonl
from deemo_dist.samples.figure import make_figure, paint
from deemo_dist.samples.people import draw_subjects, elsewhere
from deemo_dist.samples.pose import CENTRE, SHOULDER_Y, draw_motion, stance
from deemo_dist.samples.words import GESTURES

NAMES = [name for names in GESTURES.values() for name in names]


def blank_face() -> np.ndarray:
    """Stands in for a photograph where a test needs none."""
    face = np.full((140, 100, 4), 170, np.float32)
    face[..., 3] = 1
    return face


def digests(folder: Path) -> dict[str, str]:
    return {path.name: sha256_bytes(path.read_bytes()) for path in sorted(folder.glob("*.mp4"))}


@pytest.mark.parametrize("gesture", NAMES)
def test_no_arm_crosses_the_face_in_any_gesture(gesture):
    """Over many subjects: elbows, wrists and finger tips stay out of the head's ellipse."""
    for subject in draw_subjects(12, 5):
        motion = draw_motion(gesture, subject, 3.0, np.random.default_rng(subject.index))
        for time in np.arange(0, 3, 1 / 8):
            body = stance(subject, motion, float(time))
            head = np.array([CENTRE, SHOULDER_Y - 20 - subject.head]) + body.head
            for arm in body.arms:
                tip = arm.wrist + subject.hand * np.array([np.cos(arm.angle), np.sin(arm.angle)])
                points = np.concatenate(
                    [np.linspace(arm.elbow, arm.wrist, 8), np.linspace(arm.wrist, tip, 5), arm.elbow[None]]
                )
                radius = np.hypot(*((points - head) / (subject.head * 100 / 140, subject.head)).T)
                assert radius.min() > 1.02, (gesture, subject.index, time)


@pytest.mark.parametrize("gesture", NAMES)
def test_limbs_keep_their_lengths_and_the_arms_move(gesture):
    subject = draw_subjects(1, 2)[0]
    motion = draw_motion(gesture, subject, 3.0, np.random.default_rng(0))
    wrists = []
    for time in np.arange(0, 3, 1 / 8):
        for arm in stance(subject, motion, float(time)).arms:
            assert np.hypot(*(arm.elbow - arm.shoulder)) <= subject.upper_arm + 1e-6
            assert np.hypot(*(arm.wrist - arm.elbow)) <= subject.forearm + 1e-6
            wrists.append(arm.wrist)
    assert np.std(np.array(wrists)[1::2], axis=0).max() > 0.5


def test_a_frame_is_painted_deterministically():
    subject = draw_subjects(3, 1)[2]
    motion = draw_motion("open", subject, 3.0, np.random.default_rng(0))
    one, two = (
        paint(make_figure(subject, blank_face(), np.random.default_rng(4)), stance(subject, motion, 1.5), 3)
        for _ in range(2)
    )
    assert np.array_equal(one, two)
    assert one.shape == (256, 256, 3)
    assert one.dtype == np.uint8


def test_impossible_requests_and_destinations(tmp_path, monkeypatch):
    with pytest.raises(DeemoError, match="at least 1"):
        generate_clips(tmp_path, subjects=0)
    monkeypatch.setattr("deemo_dist.samples.generate.face_crops", lambda: [blank_face()] * 7)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write samples"):
        generate_clips(tmp_path / "file", subjects=1, clips_per_subject=1, workers=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples") / "clips"
    return folder, generate_clips(folder, subjects=3, clips_per_subject=2, seed=5, workers=1)


@pytest.mark.slow
def test_the_clips_are_what_was_planned(made):
    folder, clips = made
    plans = plan_clips(3, 2, 5)
    assert [Path(clip.uri).name for clip in clips] == [plan.file_name for plan in plans]
    for clip, plan in zip(clips, plans, strict=True):
        path = folder / plan.file_name
        info = probe(path)
        assert (info.width, info.height, info.fps, info.frames) == (256, 256, 8, 24)
        assert info.audio_seconds == pytest.approx(3.0, abs=0.1)
        assert clip.size_bytes == path.stat().st_size
        assert clip.labels == {"emotion": plan.emotion, "gesture": plan.gesture, "prosody": plan.prosody}
        assert set(clip.texts) == {"audio_cues", "visual_cues", "reasoning"}
        assert bool(clip.nfbl) == (plan.gesture != "idle")
        assert all(0 <= event.start < event.end <= 3 for event in clip.nfbl)
    decoded = decode_here(folder / plans[0].file_name, Bounds())
    assert decoded.waveform is not None
    assert np.sqrt(np.mean(decoded.waveform**2)) > 0.03


@pytest.mark.slow
def test_a_second_call_does_no_work_and_a_damaged_folder_is_made_again(made):
    folder, clips = made
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert generate_clips(folder, subjects=3, clips_per_subject=2, seed=5, workers=1) == clips
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    first = digests(folder)
    next(iter(folder.glob("*.mp4"))).write_bytes(b"damaged")
    assert generate_clips(folder, subjects=3, clips_per_subject=2, seed=5, workers=1) == clips
    assert digests(folder) == first


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(tmp_path):
    generate_clips(tmp_path / "one", subjects=5, clips_per_subject=2, seed=5, workers=1)
    generate_clips(tmp_path / "two", subjects=5, clips_per_subject=2, seed=5, workers=2)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


@pytest.mark.slow
def test_manifest_and_facts(made):
    folder, clips = made
    assert read_jsonl(folder / "manifest.jsonl") == clips
    facts = json.loads((folder / "samples.json").read_text())
    assert facts["bayes_accuracy"]["both"] == 0.98
    assert sum(row["clips"] for row in facts["counts"].values()) == 6
    assert all(facts["planted"][Path(clip.uri).name] for clip in clips)


@pytest.mark.slow
def test_real_clips_are_called_a_synthetic_pairing(tmp_path):
    from deemo_dist.deid.terms import refuse_names
    from deemo_dist.samples import real_clips

    clips = real_clips(tmp_path)
    refuse_names(clips)
    assert {clip.source for clip in clips} == {"synthetic-pairing"}
    assert all(not clip.labels and clip.transcript for clip in clips)
    for clip in clips:
        info = probe(Path(clip.uri.removeprefix("file://")))
        assert info.has_audio
        assert info.seconds < 4.1
        assert info.audio_seconds == pytest.approx(info.seconds, abs=0.06)
    assert read_jsonl(tmp_path / "manifest.jsonl") == clips


@pytest.mark.slow
def test_where_places_change_people_keep_all_but_clothes_and_place(tmp_path):
    person = draw_subjects(1, 2)[0]
    first, second = (elsewhere(person, (2, 3, 0, number, 1)) for number in (0, 1))
    assert first != second
    assert elsewhere(person, (2, 3, 0, 0, 1)) == first
    changing = {name for name in vars(person) if len({getattr(each, name) for each in (person, first, second)}) > 1}
    assert {"shirt", "background"} <= changing <= {"shirt", "background", "stripes", "short_sleeves"}
    generate_clips(tmp_path / "own", subjects=1, clips_per_subject=2, seed=5, workers=1)
    generate_clips(tmp_path / "other", subjects=1, clips_per_subject=2, seed=5, workers=1, changing=True)
    plans = plan_clips(1, 2, 5)
    walls = [
        [decode_here(tmp_path / name / plan.file_name, Bounds()).frames[0, :40].mean(axis=(0, 1)) for plan in plans]
        for name in ("own", "other")
    ]
    own, other = (np.abs(one - two).max() for one, two in walls)
    assert own < 20 < other
