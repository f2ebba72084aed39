"""Real footage, dubbed: no package ships a person speaking with matching sound, so every pairing here is synthetic."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deemo_dist.errors import StorageError
from deemo_dist.media import Bounds, DecodedClip, Sandbox, encode_video, mux
from deemo_dist.records import Clip
from deemo_dist.samples.manifest import MANIFEST, write_jsonl
from deemo_dist.weights import fetch, registry

SOURCE = "synthetic-pairing"


@dataclass(frozen=True)
class _Pairing:
    """Footage from ``start`` for at most ``seconds``, heard with ``speech``."""

    name: str
    footage: str
    start: float
    seconds: float
    speech: str
    subject: str


PAIRINGS = (
    _Pairing("carphone", "clip-carphone", 0.0, 4.0, "speech-en-fox", "carphone"),
    _Pairing("single_face", "clip-single-face", 0.0, 4.0, "speech-en-hello", "single face"),
    _Pairing("no_face", "clip-no-face", 0.0, 4.0, "speech-en-counting", "no face"),
    _Pairing("pexels_distress", "clip-pexels", 1.0, 4.0, "speech-en-counting", "pexels"),
    _Pairing("pexels_smile", "clip-pexels", 12.0, 4.0, "speech-en-fox", "pexels"),
)


def real_clips(dest: Path) -> list[Clip]:
    """Write the dubbed clips and their ``manifest.jsonl`` to ``dest``: faces of real people, for de-identification.

    ``source`` is ``synthetic-pairing`` and no emotion is claimed: the sound (synthesised speech, see the weights'
    notes) is not the voice of the person shown, and starts and ends with the video. All are in split ``test``.
    Raises ``WeightsError`` if footage cannot be had, ``StorageError`` if ``dest`` cannot be written.
    """
    try:
        dest.mkdir(parents=True, exist_ok=True)
        with Sandbox() as sandbox:
            films = {name: sandbox.decode(Path(fetch(name)), Bounds()) for name in {one.footage for one in PAIRINGS}}
        clips = [_make(pairing, dest, films[pairing.footage]) for pairing in PAIRINGS]
        write_jsonl(clips, dest / MANIFEST)
    except OSError as error:
        raise StorageError(f"cannot write samples to {dest}: {error.strerror}", hint="choose another folder") from None
    return clips


def source_frames() -> dict[str, tuple[str, np.ndarray]]:
    """Of which footage each dubbed clip is, and the numbers there of its frames: by the clip's file name, without its
    ending. What is known of the footage by frame (boxes of faces) is by it known of the clips.

    Raises ``WeightsError`` if footage cannot be had.
    """
    with Sandbox() as sandbox:
        films = {name: sandbox.decode(Path(fetch(name)), Bounds()) for name in {one.footage for one in PAIRINGS}}
    return {one.name: (one.footage, np.flatnonzero(_cut(one, films[one.footage]))) for one in PAIRINGS}


def _cut(pairing: _Pairing, clip: DecodedClip) -> np.ndarray:
    """Which frames of the footage are shown: bool [T]."""
    return np.asarray((clip.frame_times >= pairing.start) & (clip.frame_times < pairing.start + pairing.seconds))


def _make(pairing: _Pairing, dest: Path, clip: DecodedClip) -> Clip:
    assert clip.frames is not None
    chosen = _cut(pairing, clip)
    frames, times = clip.frames[chosen], clip.frame_times[chosen]
    seconds = float(times[-1] - times[0]) + 1 / clip.fps
    waveform, rate = _speech(pairing.speech, seconds)
    data = mux(encode_video(frames, clip.fps, times=times, crf=18), waveform, rate)
    path = dest / f"{pairing.name}.mp4"
    path.write_bytes(data)
    return Clip(
        uri=path.absolute().as_uri(),
        subject=pairing.subject,
        split="test",
        source=SOURCE,
        size_bytes=len(data),
        transcript=registry()[pairing.speech].transcript,
    )


def _speech(name: str, seconds: float) -> tuple[np.ndarray, int]:
    """A speech file's waveform, cut or filled up with silence to ``seconds``, and its rate."""
    import soundfile

    samples, rate = soundfile.read(fetch(name), dtype="float32", always_2d=True)
    wanted = math.ceil(seconds * rate)
    mono = samples.mean(axis=1)[:wanted]
    return np.pad(mono, (0, wanted - len(mono))).astype(np.float32), int(rate)
