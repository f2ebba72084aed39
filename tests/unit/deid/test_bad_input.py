"""Strange media through the whole of it: each de-identified as a viewer sees it, or rejected with a named reason."""

import io
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from deemo_dist.deid import Deidentifier, DeidResult
from deemo_dist.deid.faces.detectors import CenterFace
from deemo_dist.errors import RejectedClipError
from deemo_dist.media import Bounds, Sandbox, VideoWriter, decode_frames, encode_video, mux
from deemo_dist.weights import fetch
from tests.unit.deid.conftest import footage, make_clip

pytestmark = pytest.mark.slow
BOUNDS = Bounds(max_pixels=3840 * 2160, max_frames=2000, max_seconds=120, cpu_seconds=60, memory_mb=1024)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as one:
        yield one


def through(deidentifier: Deidentifier, sandbox: Sandbox, path: Path) -> tuple[DeidResult, np.ndarray]:
    """The result, and the frames that a reader of the released video sees."""
    buffer = io.BytesIO()
    with VideoWriter(buffer) as writer:
        made = deidentifier(make_clip(uri=path.as_uri()), sandbox.open(path, BOUNDS), writer)
    return made, decode_frames(buffer.getvalue())


def talking(count: int = 12) -> np.ndarray:
    frames = footage("clip-single-face", count=count).frames
    assert frames is not None
    return frames


def written(path: Path, frames: np.ndarray, *, codec: str = "libx264", pix_fmt: str = "yuv420p") -> Path:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=24)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt)))
        container.mux(stream.encode(None))
    return path


def unseen(frames: np.ndarray) -> bool:
    detector = CenterFace(threshold=0.5)
    return not any(len(detector(np.ascontiguousarray(frame))[0]) for frame in frames[::3])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"Anna Keller said that\n" * 40, "not_media"),
        (bytes(np.random.default_rng(0).integers(0, 256, 9000, np.uint8)), "not_media"),
        (b"\x00\x00\x00\x18ftypisom" + bytes(400), "corrupt"),
    ],
)
def test_what_is_no_media_is_rejected_by_name(
    deidentifier: Deidentifier, sandbox: Sandbox, tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "anna_keller.mp4"
    path.write_bytes(content)
    with pytest.raises(RejectedClipError) as caught:
        through(deidentifier, sandbox, path)
    assert (caught.value.stage, caught.value.reason) == ("decode", reason)
    assert "anna" not in str(caught.value).lower()


def test_a_truncated_clip_is_rejected_wherever_it_ends(
    deidentifier: Deidentifier, sandbox: Sandbox, tmp_path: Path
) -> None:
    whole = Path(fetch("clip-single-face")).read_bytes()
    for share in (0.3, 0.8):
        (tmp_path / "cut.mp4").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(RejectedClipError) as caught:
            through(deidentifier, sandbox, tmp_path / "cut.mp4")
        assert (caught.value.stage, caught.value.reason) == ("decode", "corrupt")


def test_sound_alone_is_rejected(deidentifier: Deidentifier, sandbox: Sandbox) -> None:
    with pytest.raises(RejectedClipError) as caught:
        through(deidentifier, sandbox, Path(fetch("speech-en-hello")))
    assert caught.value.reason == "no_video"


@pytest.mark.parametrize("matrix", [(0, 1, -1, 0), (0, -1, 1, 0), (-1, 0, 0, -1)])
def test_a_turned_face_is_masked_where_the_viewer_sees_it(
    deidentifier: Deidentifier, sandbox: Sandbox, tmp_path: Path, matrix: tuple[int, int, int, int]
) -> None:
    """Real footage, stored on its side as a phone does, with the matrix that brings it upright again."""
    turns = {(0, 1, -1, 0): 1, (0, -1, 1, 0): 3, (-1, 0, 0, -1): 2}[matrix]
    upright = talking()
    data = bytearray(encode_video(np.ascontiguousarray(np.rot90(upright, turns, axes=(1, 2))), 24))
    at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    (tmp_path / "phone.mp4").write_bytes(data)
    made, shown = through(deidentifier, sandbox, tmp_path / "phone.mp4")
    assert shown.shape == upright.shape
    assert made.attestation.frames_with_face == 12
    assert unseen(shown)
    boxes = CenterFace(threshold=0.5)(upright[6])[0].astype(int)
    for left, top, right, bottom in boxes:
        assert np.abs(shown[6][top:bottom, left:right].astype(int) - 32).mean() < 6


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "size"),
    [
        ("odd.mkv", "ffv1", "bgr0", (359, 639)),
        ("ten.mkv", "ffv1", "yuv420p10le", (360, 640)),
        ("grey.mkv", "ffv1", "gray", (360, 640)),
        ("still.mkv", "mjpeg", "yuvj420p", (360, 640)),
    ],
)
def test_depths_and_odd_sizes(
    deidentifier: Deidentifier,
    sandbox: Sandbox,
    tmp_path: Path,
    name: str,
    codec: str,
    pix_fmt: str,
    size: tuple[int, int],
) -> None:
    frames = talking()[:, : size[0], : size[1]]
    made, shown = through(deidentifier, sandbox, written(tmp_path / name, frames, codec=codec, pix_fmt=pix_fmt))
    assert shown.shape[1:3] == (360, 640)
    assert made.attestation.frames_with_face == 12
    assert unseen(shown)


def test_a_face_in_4k(deidentifier: Deidentifier, sandbox: Sandbox, tmp_path: Path) -> None:
    wide = np.full((4, 2160, 3840, 3), 120, np.uint8)
    wide[:, 1000:1360, 2000:2640] = talking(4)
    path = tmp_path / "large.mp4"
    path.write_bytes(encode_video(wide, 24, preset="ultrafast"))
    made, shown = through(deidentifier, sandbox, path)
    assert shown.shape == (4, 2160, 3840, 3)
    assert made.attestation.frames_with_face == 4
    assert np.abs(shown[:, 1122:1305, 2207:2390].astype(int) - 32).mean() < 6


@pytest.mark.parametrize(("count", "rate"), [(1, 24.0), (5, 1.0), (12, 24000 / 1001)])
def test_one_frame_and_one_frame_a_second(
    deidentifier: Deidentifier, sandbox: Sandbox, tmp_path: Path, count: int, rate: float
) -> None:
    (tmp_path / "slow.mp4").write_bytes(encode_video(talking(count), rate))
    made, shown = through(deidentifier, sandbox, tmp_path / "slow.mp4")
    assert made.attestation.frames_with_face == count == len(shown)
    assert made.video.fps == pytest.approx(rate)
    assert made.video.seconds == pytest.approx(count / rate, abs=0.02)
    assert unseen(shown)


def test_a_variable_rate_with_sound_stays_in_sync(deidentifier: Deidentifier, sandbox: Sandbox, tmp_path: Path) -> None:
    times = np.cumsum(np.concatenate([[0.0], np.random.default_rng(0).uniform(0.02, 0.3, 23)]))
    rate = 22050
    sound = (0.3 * np.sin(np.arange(int(rate * (times[-1] + 0.1))) / 20)).astype(np.float32)
    path = tmp_path / "phone.mp4"
    path.write_bytes(mux(encode_video(talking(24), 24 / times[-1], times=times), sound, rate))
    made, shown = through(deidentifier, sandbox, path)
    assert np.abs(made.frame_times - times).max() < 1e-3
    assert made.flac is not None
    assert abs(made.samples / 16000 - len(sound) / rate) < 0.02 + 1024 / rate
    figures = made.attestation.figures
    assert max(figures["sync_picture_ms"], figures["sync_sound_ms"]) <= 20
    assert figures["sync_rate_frames"] <= 0.5
    assert unseen(shown)


def test_times_below_zero(deidentifier: Deidentifier, sandbox: Sandbox, tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "early.nut"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 360, 640, "yuv420p"
        stream.options = {"bf": "0"}
        stream.codec_context.time_base = Fraction(1, 25)
        for number, image in enumerate(talking()):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number - 50, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    made, shown = through(deidentifier, sandbox, tmp_path / "early.nut")
    assert np.allclose(made.frame_times, np.arange(12) / 25)
    assert unseen(shown)


def test_a_bomb_is_refused_before_it_goes_off(deidentifier: Deidentifier, sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "bomb.mp4"
    path.write_bytes(encode_video(np.zeros((2, 2160, 3840, 3), np.uint8), 24, preset="ultrafast"))
    cases = ((Bounds(max_pixels=1920 * 1080), "too_large"), (Bounds(max_frames=1), "too_long"))
    for bounds, reason in (*cases, (Bounds(max_seconds=0.05), "too_long")):
        with pytest.raises(RejectedClipError) as caught:
            sandbox.open(path, bounds)
        assert (caught.value.stage, caught.value.reason) == ("decode", reason)


def test_a_decoder_that_dies_of_a_clip_rejects_it_and_the_next_one_is_fine(
    deidentifier: Deidentifier, tmp_path: Path
) -> None:
    import sys

    code = (
        "import os, signal\nfrom deemo_dist.media import child\nreal = child._Pipe.frame\n"
        "def frame(self, image, time):\n"
        "  if image[0, 0, 0] < 20:\n    os.kill(os.getpid(), signal.SIGSEGV)\n"
        "  real(self, image, time)\nchild._Pipe.frame = frame\nchild.main()"
    )
    for name, level in (("bad", 0), ("good", 90)):
        (tmp_path / f"{name}.mp4").write_bytes(encode_video(np.full((12, 64, 64, 3), level, np.uint8), 24))
    with Sandbox(command=(sys.executable, "-c", code)) as fragile:
        with pytest.raises(RejectedClipError) as caught:
            through(deidentifier, fragile, tmp_path / "bad.mp4")
        assert (caught.value.stage, caught.value.reason) == ("decode", "crashed")
        assert through(deidentifier, fragile, tmp_path / "good.mp4")[0].video.frames == 12
