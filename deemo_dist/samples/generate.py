"""Making the generated clips: planned from the seed, painted and voiced in parallel, listed in a JSONL manifest."""

import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deemo_dist.console import logger, progress
from deemo_dist.digests import digest_of, plain
from deemo_dist.errors import DeemoError, StorageError
from deemo_dist.media import encode_video, mux
from deemo_dist.records import Clip, NfblEvent
from deemo_dist.samples.design import KINDS, SHARES, ClipPlan, bayes_rates, plan_clips
from deemo_dist.samples.faces import face_crops
from deemo_dist.samples.figure import make_figure, paint
from deemo_dist.samples.manifest import MANIFEST, read_jsonl, write_jsonl
from deemo_dist.samples.people import FACES, elsewhere
from deemo_dist.samples.pose import draw_motion, stance
from deemo_dist.samples.voice import RATE, speak
from deemo_dist.samples.words import HEARD, NFBL_TYPES, SEEN, reasoning

FPS = 8
SECONDS = 3.0
SOURCE = "generated"
FACTS = "samples.json"
VERSION = 1
WEIGHTS = ("clip-single-face", "clip-pexels")
"""Footage that the generated figures take their faces from."""


@dataclass(frozen=True)
class _Made:
    """One clip as written: its plan, motion window, size in bytes."""

    plan: ClipPlan
    start: float
    end: float
    size: int


def generate_clips(
    dest: Path,
    *,
    subjects: int = 75,
    clips_per_subject: int = 8,
    seed: int = 7,
    workers: int = 2,
    changing: bool = False,
) -> list[Clip]:
    """Make ``subjects * clips_per_subject`` clips in ``dest``: MP4 files, ``manifest.jsonl`` and ``samples.json``.

    Each is 3 s, 8 fps, 256 x 256, H.264 with AAC. A function of the seed: on one machine a rerun gives the same bytes,
    with any number of ``workers`` (spawned processes; 1 works in this one). ``changing``: in each clip a person wears
    other clothes at another place, so that only the person links two of them. A folder that already holds exactly these
    clips is left as it is. Raises ``StorageError`` if ``dest`` cannot be written, ``WeightsError`` without footage.
    """
    if subjects < 1 or clips_per_subject < 1 or workers < 1:
        raise DeemoError("subjects, clips and workers must be at least 1")
    asked = {"version": VERSION, "subjects": subjects, "clips_per_subject": clips_per_subject, "seed": seed}
    asked |= {"changing": 1} if changing else {}
    present = _present(dest, asked)
    if present is not None:
        logger.info("samples: nothing to do, all %d clips are there", len(present))
        return present
    plans = plan_clips(subjects, clips_per_subject, seed)
    if changing:
        plans = [replace(plan, subject=elsewhere(plan.subject, plan.seed)) for plan in plans]
    try:
        dest.mkdir(parents=True, exist_ok=True)
        (dest / FACTS).unlink(missing_ok=True)
        made = sorted(_make_all(plans, dest, workers), key=lambda one: (one.plan.subject.index, one.plan.number))
        clips = [_clip(one, dest) for one in made]
        write_jsonl(clips, dest / MANIFEST)
        (dest / FACTS).write_text(json.dumps(_facts(asked, made, clips), indent=2) + "\n")
    except OSError as error:
        raise StorageError(f"cannot write samples to {dest}: {error.strerror}", hint="choose another folder") from None
    return clips


def _present(dest: Path, asked: dict[str, int]) -> list[Clip] | None:
    """The clips of an earlier, equal and complete call, or None."""
    try:
        facts = json.loads((dest / FACTS).read_text())
        clips = read_jsonl(dest / MANIFEST)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    same = facts.get("asked") == asked and facts.get("clips_digest") == digest_of([plain(clip) for clip in clips])
    whole = all(_size(clip) == clip.size_bytes for clip in clips)
    return clips if same and whole else None


def _size(clip: Clip) -> int:
    path = Path(clip.uri.removeprefix("file://"))
    return path.stat().st_size if path.is_file() else -1


def _make_all(plans: Sequence[ClipPlan], dest: Path, workers: int) -> Iterator[_Made]:
    """Make the clips, in spawned processes when ``workers`` > 1."""
    faces = face_crops()
    parts = [list(plans[start : start + 8]) for start in range(0, len(plans), 8)]
    with progress("sample clips", len(plans), unit="clips") as bar:
        if workers == 1 or len(parts) == 1:
            for plan in plans:
                yield _make(plan, faces[plan.subject.face], dest)
                bar.advance()
            return
        context = multiprocessing.get_context("spawn")
        try:
            with ProcessPoolExecutor(min(workers, len(parts)), mp_context=context) as pool:
                for part in pool.map(_make_part, [(part, faces, dest) for part in parts]):
                    yield from part
                    bar.advance(len(part))
        except BrokenProcessPool:
            raise DeemoError("a process that made sample clips died", hint="try again, with fewer workers") from None


def _make_part(task: tuple[list[ClipPlan], list[np.ndarray], Path]) -> list[_Made]:
    """Work of one spawned process: a few clips, one thread."""
    import cv2

    cv2.setNumThreads(1)
    plans, faces, dest = task
    assert len(faces) == FACES
    return [_make(plan, faces[plan.subject.face], dest) for plan in plans]


def _make(plan: ClipPlan, face: np.ndarray, dest: Path) -> _Made:
    """Paint, voice, encode and write one clip."""
    rng = np.random.default_rng(plan.seed)
    figure = make_figure(plan.subject, face, rng)
    motion = draw_motion(plan.gesture, plan.subject, SECONDS, rng)
    moments = np.arange(round(SECONDS * FPS)) / FPS
    frames = np.stack([paint(figure, stance(plan.subject, motion, time), at) for at, time in enumerate(moments)])
    waveform = speak(plan.subject, plan.prosody, SECONDS, rng)
    data = mux(encode_video(frames, FPS, preset="ultrafast"), waveform, RATE)
    (dest / plan.file_name).write_bytes(data)
    return _Made(plan=plan, start=round(motion.start, 3), end=round(motion.end, 3), size=len(data))


def _clip(made: _Made, dest: Path) -> Clip:
    plan = made.plan
    kind = NFBL_TYPES.get(plan.gesture)
    return Clip(
        uri=(dest.absolute() / plan.file_name).as_uri(),
        subject=plan.subject.name,
        split=plan.split,
        source=SOURCE,
        size_bytes=made.size,
        transcript=plan.transcript,
        subgroup=plan.subject.subgroup,
        labels={"emotion": plan.emotion, "gesture": plan.gesture, "prosody": plan.prosody},
        texts={
            "audio_cues": HEARD[plan.prosody],
            "visual_cues": SEEN[plan.gesture],
            "reasoning": reasoning(plan.gesture, plan.prosody, plan.emotion),
        },
        nfbl=(NfblEvent(start=made.start, end=made.end, type=kind),) if kind else (),
    )


def _facts(asked: dict[str, int], made: Sequence[_Made], clips: Sequence[Clip]) -> dict[str, object]:
    """What ``samples.json`` says: the design's probabilities and Bayes rates, and what was planted where."""
    counts: dict[str, dict[str, int]] = {}
    for one in made:
        row = counts.setdefault(one.plan.split, dict.fromkeys(("clips", "positive", *KINDS), 0))
        row["clips"] += 1
        row["positive"] += one.plan.emotion == "positive"
        row[one.plan.informs] += 1
    return {
        "asked": asked,
        "what": "generated figures and voices; the faces are photographs from public footage; nobody feels anything",
        "cues": "erased, not flipped: an informative cue is always right, otherwise it is neutral",
        "probability_of_what_informs": {
            kind if kind in ("both", "neither") else f"{kind} only": round(share, 4)
            for kind, share in zip(KINDS, SHARES, strict=True)
        },
        "derivation": "P(both) = .54 + .54 - (1 - .04) = .12; P(one only) = .54 - .12 = .42; "
        "Bayes = P(informed) + (1 - P(informed)) / 2",
        "bayes_accuracy": bayes_rates(),
        "counts": counts,
        "planted": {one.plan.file_name: list(one.plan.planted) for one in made},
        "clips_digest": digest_of([plain(clip) for clip in clips]),
    }
