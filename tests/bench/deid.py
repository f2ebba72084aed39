"""De-identification beside deface: the same real footage, file to file, sound kept; and what either one leaks.

On the clips as they are neither leaks in a frame that was checked; so leaks are counted in the same clips shaken, too:
every frame smeared as far as a camera that is turned fast smears it.
"""

import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np

from deemo_dist.config import KeysConfig, PolicyConfig
from deemo_dist.deid import Deidentifier, KeyRing
from deemo_dist.deid.audit.coverage import ENOUGH, NEAR, read_boxes
from deemo_dist.deid.body.people import BodyModels
from deemo_dist.deid.faces import masking
from deemo_dist.media import Bounds, Sandbox, VideoWriter, mux
from deemo_dist.weights import fetch
from tests.bench.harness import Work
from tests.bench.peers import asked, python

SCRIPT = Path(__file__).parent / "masking" / "deface_video.py"
TRUTH = read_boxes((Path(__file__).parents[1] / "truth" / "faces.csv").read_text(), "faces.csv")
POLICY = replace(PolicyConfig(), captions="keep")  # deface masks none, and audits nothing
NOBODY = np.zeros((0, 4))
SMEAR = 31  # pixels


class NoBodies(BodyModels):
    """Networks of the body that see nobody: what is left of the product is its faces."""

    def __init__(self) -> None:
        self.people = lambda frame: (NOBODY, [])  # type: ignore[assignment]
        self.poses = lambda frame, region: None  # type: ignore[assignment]
        self.palms = lambda frame: []  # type: ignore[assignment]
        self.hands = lambda frame, region: None  # type: ignore[assignment]


def unseen(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An audit that looks at nothing."""
    return NOBODY, np.zeros(0)


class Unread(VideoWriter):
    """A writer whose file the audit does not read back."""

    def shown(self, number: int) -> np.ndarray:
        return np.zeros((*self._size[::-1], 3), np.uint8)


class Ours:
    """File to file by the product's own two passes: decoded in the sandbox, looked at, masked, encoded, the sound put
    back. The audit is left out."""

    def __init__(self, *, bodies: bool) -> None:
        self.sandbox = Sandbox()
        self.deid = Deidentifier(POLICY, KeyRing.open(KeysConfig(source="demo"), dataset="bench"))
        self.deid.auditor = self.deid.small = unseen
        if not bodies:
            self.deid.body = NoBodies()

    def __call__(self, source: Path, target: Path) -> float:
        """One pass over a file; frames a second."""
        started = perf_counter()
        clip = self.sandbox.open(source, Bounds())
        seen = self.deid.look(clip)
        buffer = io.BytesIO()
        with Unread(buffer) as writer:
            self.deid.release(clip, writer, seen)
        sound = clip.sound()
        target.write_bytes(mux(buffer.getvalue(), sound[0][:], sound[1]) if sound else buffer.getvalue())
        return len(seen.times) / (perf_counter() - started)


def dubbed(name: str, path: Path, *, smear: int = 1) -> Path:
    """A packaged clip with a packaged voice: real footage, a synthetic pairing. ``smear``: pixels over which a frame is
    blurred sideways."""
    import cv2
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
            writer.write(cv2.blur(frame, (smear, 1)), float(time))
        writer.close()
    path.write_bytes(mux(buffer.getvalue(), np.resize(wave.mean(axis=1), wanted), rate))
    return path


@dataclass(frozen=True)
class Files:
    """One clip in a folder: raw, and as either one released it last; ``shaken``: with every frame smeared."""

    clip: str
    folder: Path
    shaken: bool = False

    @property
    def name(self) -> str:
        return self.clip.removeprefix("clip-") + (", shaken" if self.shaken else "")

    @property
    def raw(self) -> Path:
        """Made when it is first asked for."""
        path = self.folder / f"{self.name}.mp4"
        return path if path.exists() else dubbed(self.clip, path, smear=SMEAR if self.shaken else 1)

    def ours(self, variant: str) -> Path:
        return self.folder / f"{self.name}-{variant}.mp4"

    @property
    def theirs(self) -> Path:
        return self.folder / f"{self.name}-deface.mp4"


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
    """The comparisons of this bench, ours on one thread; deface takes as many as there are cores. What is leaked is
    counted in the files that the comparisons of speed wrote, which come first."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        clips = [Files(clip, Path(folder)) for clip in sorted(TRUTH)]
        variants = {"faces": (Ours(bodies=False), 4.0), "faces and body cues": (Ours(bodies=True), 1.8)}
        for ours, _ in variants.values():
            stack.callback(ours.sandbox.close)
        shaken = [replace(files, shaken=True) for files in clips]
        speeds = [
            row for variant, (ours, goal) in variants.items() for row in _speeds(stack, clips, variant, ours, goal)
        ]
        kept = [row for name, (ours, _) in variants.items() for row in _kept(clips, shaken, name, ours)]
        yield speeds + kept


@dataclass
class Rates:
    """``rate``, asked for and remembered: frames a second of a file of so many ``frames``."""

    rate: Callable[[], float]
    frames: int
    seen: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        self.seen.append(self.rate())
        return self.seen[-1]


def together(files: Sequence[Rates]) -> Callable[[], float]:
    """A function that gives, answer by answer, the rate over all files that their remembered ones come to."""
    places = iter(range(10**6))

    def rate() -> float:
        place = next(places)
        return sum(each.frames for each in files) / sum(each.frames / each.seen[place] for each in files)

    return rate


def _speeds(stack: ExitStack, clips: list[Files], variant: str, ours: Ours, goal: float) -> list[Work]:
    """Each clip by itself, and the same measurements as one pass over all of them."""
    mine, their = list[Rates](), list[Rates]()
    for files in clips:
        ask: Callable[[], float] = stack.enter_context(asked([python(), SCRIPT, files.raw, files.theirs]))
        with Sandbox() as sandbox:
            frames = sandbox.probe(files.raw, Bounds()).frames
        mine.append(Rates(partial(ours, files.raw, files.ours(variant)), frames))
        their.append(Rates(lambda ask=ask, frames=frames: frames * ask(), frames))  # type: ignore[misc]
    rows = [(files.name, *pair) for files, *pair in zip(clips, mine, their, strict=True)]
    rows.append(("all of the footage", together(mine), together(their)))
    return [
        Work(work=f"{variant}, {name}", peer="deface 1.5.0", unit="frames/s", goal=goal, ours=one, theirs=other)
        for name, one, other in rows
    ]


def _kept(clips: list[Files], shaken: list[Files], variant: str, ours: Ours) -> list[Work]:
    """Per clip no fewer frames hidden than by deface and all of the sound kept; in sum more frames hidden."""
    every = [*clips, *shaken]
    frames = sum(len(TRUTH[files.clip]) for files in every)
    rows = [_hidden(f"{variant}: no face seen, {files.name}", [files], variant, ours, goal=1.0) for files in every]
    more = 1 + 1 / (2 * frames)  # one frame more is more
    sounds = [
        Work(
            work=f"{variant}: sound kept, {files.name}",
            peer="the raw file",
            unit="s",
            goal=0.99,
            ours=lambda files=files: sound_seconds(files.ours(variant)),  # type: ignore[misc]
            theirs=lambda files=files: sound_seconds(files.raw),  # type: ignore[misc]
            rounds=1,
        )
        for files in clips
    ]
    return [*rows, _hidden(f"{variant}: no face seen, in sum", every, variant, ours, goal=more), *sounds]


def _hidden(work: str, clips: list[Files], variant: str, ours: Ours, *, goal: float) -> Work:
    """Checked frames hidden in the files that were written last; what was not written yet is now, once."""

    def mine(files: Files) -> Path:
        if not files.ours(variant).exists():
            ours(files.raw, files.ours(variant))
        return files.ours(variant)

    def their(files: Files) -> Path:
        if not files.theirs.exists():
            with asked([python(), SCRIPT, files.raw, files.theirs]) as ask:
                ask()
        return files.theirs

    checked = sum(len(TRUTH[files.clip]) for files in clips)
    return Work(
        work=work,
        peer="deface 1.5.0",
        unit=f"frames of {checked}",
        goal=goal,
        ours=lambda: float(sum(hidden(files.clip, mine(files), masking.FILL) for files in clips)),
        theirs=lambda: max(0.5, float(sum(hidden(files.clip, their(files), (0, 0, 0)) for files in clips))),
        rounds=1,
    )
