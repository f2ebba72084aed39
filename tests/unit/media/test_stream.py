"""Clips as streams: pass after pass, in bounded memory, in sync; and what strange files come to."""

import io
import itertools
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from deemo_dist.deid.meter import Meter
from deemo_dist.errors import DeemoError, MediaError, RejectedClipError, StalledError
from deemo_dist.media import Bounds, MemoryClip, Sandbox, VideoWriter, decode_here, encode_video, mux, probe, resample
from deemo_dist.media.resampling import Resampler

BOUNDS = Bounds(cpu_seconds=20, memory_mb=1024)


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as one:
        yield one


def looked(source) -> tuple[list[float], np.ndarray]:
    items = list(source.frames())
    assert [number for number, _, _ in items] == list(range(len(items)))
    return [when for _, when, _ in items], np.stack([image for _, _, image in items])


@pytest.fixture
def heard(tmp_path: Path, frames: np.ndarray, helpers) -> Path:
    path = tmp_path / "heard.mp4"
    path.write_bytes(mux(encode_video(frames, 24), helpers.tone(30 / 24, 44100, clicks=(0.25, 0.75)), 44100))
    return path


@pytest.mark.parametrize("keep", [0, 2**20, 2**30])
def test_every_pass_gives_what_decoding_at_once_gives(sandbox, heard, keep):
    whole = decode_here(heard, BOUNDS)
    source = sandbox.open(heard, BOUNDS, keep_bytes=keep)
    for _ in range(3):
        times, images = looked(source)
        assert np.array_equal(times, whole.frame_times)
        assert np.array_equal(images, whole.frames)
        waveform, rate = source.sound()
        assert rate == 16000
        assert np.array_equal(waveform, whole.waveform)
    assert (source.info.fps, source.info.frames, source.info.has_audio) == (24, 30, True)


def test_the_sound_alone_can_be_asked_for_first(sandbox, heard, clip):
    assert np.array_equal(sandbox.open(heard, BOUNDS).sound()[0], decode_here(heard, BOUNDS).waveform)
    assert sandbox.open(clip, BOUNDS).sound() is None


def test_a_pass_that_is_left_does_not_spoil_the_next(sandbox, clip):
    source = sandbox.open(clip, BOUNDS, keep_bytes=0)
    first = source.frames()
    assert [number for number, _, _ in itertools.islice(first, 3)] == [0, 1, 2]
    assert len(looked(source)[0]) == 30
    with pytest.raises(MediaError, match="another clip was begun"):
        list(first)
    assert len(looked(sandbox.open(clip, BOUNDS))[0]) == 30


def test_a_file_that_changes_between_passes_is_refused(sandbox, tmp_path, frames):
    path = tmp_path / "a.mp4"
    path.write_bytes(encode_video(frames, 24))
    source = sandbox.open(path, BOUNDS, keep_bytes=0)
    looked(source)
    path.write_bytes(encode_video(frames[:20], 24))
    with pytest.raises(MediaError) as caught:
        looked(source)
    assert caught.value.reason == "unstable"


def test_a_child_that_dies_in_the_middle_is_replaced_without_a_gap(tmp_path, clip):
    code = (
        "import os, pathlib, signal, sys\nfrom deemo_dist.media import child\n"
        "first = not pathlib.Path(sys.argv[1]).exists()\npathlib.Path(sys.argv[1]).touch()\n"
        "real = child._Pipe.frame\nseen = [0]\n"
        "def frame(self, image, time):\n  seen[0] += 1\n"
        "  if seen[0] == 8 and first:\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "  real(self, image, time)\nchild._Pipe.frame = frame\nchild.main()"
    )
    with Sandbox(command=(sys.executable, "-c", code, str(tmp_path / "died"))) as fragile:
        times, images = looked(fragile.open(clip, BOUNDS, keep_bytes=0))
    assert (tmp_path / "died").exists()
    assert np.array_equal(images, decode_here(clip, BOUNDS).frames)
    assert len(times) == 30


def test_a_slow_reader_is_waited_for_and_not_counted_against_the_clip(clip):
    with Sandbox() as sandbox:
        source = sandbox.open(clip, Bounds(cpu_seconds=20, memory_mb=1024), keep_bytes=0)
        passing = source.frames()
        next(passing)
        sandbox._child.patience = 0.5
        time.sleep(0.7)
        assert len(list(passing)) == 29


def test_a_child_that_stands_still_is_replaced_and_the_clip_is_fine(clip, frames):
    """As when a machine freezes: the clock alone rejects nothing. The clip is longer than what a pipe holds."""
    clip.write_bytes(encode_video(np.tile(frames, (8, 1, 1, 1)), 24))
    with Sandbox() as sandbox:
        source = sandbox.open(clip, BOUNDS, keep_bytes=0)
        passing = source.frames()
        next(passing)
        first = sandbox.pid
        os.kill(first, signal.SIGSTOP)
        sandbox._child.patience = 0.5
        assert [number for number, _, _ in passing] == list(range(1, 240))
        assert sandbox.pid != first


def test_a_child_that_does_not_start_is_no_fault_of_the_clip(clip):
    with Sandbox(command=(sys.executable, "-c", "raise SystemExit(3)")) as sandbox:
        with pytest.raises(DeemoError, match="does not start") as caught:
            sandbox.probe(clip, BOUNDS)
        assert not isinstance(caught.value, MediaError)


def test_a_child_that_cannot_be_had_in_the_middle_of_a_clip_is_no_fault_of_it(clip):
    with Sandbox() as sandbox:
        source = sandbox.open(clip, BOUNDS, keep_bytes=0)
        sandbox.close()
        sandbox._command = ("/nowhere/python",)
        with pytest.raises(DeemoError, match="does not start") as caught:
            list(Meter().each("decode", source.frames()))
        assert not isinstance(caught.value, RejectedClipError)


def test_a_user_whose_pipes_are_many_still_decodes(clip, frames, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr("deemo_dist.media.process.fcntl.fcntl", refuse)
    with Sandbox() as sandbox:
        assert len(looked(sandbox.open(clip, BOUNDS, keep_bytes=0))[0]) == len(frames)


def decoding_by(body: str) -> tuple[str, ...]:
    """A child that decodes by ``body``."""
    made = f"def decode(*_, **__):\n  {body}\nchild.decode_into = decode\nchild.main()"
    return (sys.executable, "-c", f"import signal, time\nfrom deemo_dist.media import child\n{made}")


@pytest.mark.slow
def test_a_decoder_that_sleeps_for_ever_is_given_up_and_no_clip_s_fault(clip, monkeypatch):
    """As where a machine was suspended, or has too much to do: the clock alone rejects nothing."""
    monkeypatch.setattr("deemo_dist.media.sandbox.GRACE_SECONDS", 0.2)
    with Sandbox(command=decoding_by("time.sleep(60)")) as sandbox:
        source = sandbox.open(clip, BOUNDS)
        with pytest.raises(StalledError, match=r"got 0\.\d of 1 s of processor time .*- nothing is known of the clip"):
            next(sandbox._stream(clip, Bounds(cpu_seconds=1), picture=True, sound=True))
        assert sandbox.pid is None
        assert source.info.frames == 30


@pytest.mark.slow
def test_a_decoder_that_had_its_processor_time_and_never_ends_is_the_clip_s_fault(clip, monkeypatch):
    """One that the kernel's signal does not end."""
    monkeypatch.setattr("deemo_dist.media.sandbox.GRACE_SECONDS", 6.0)
    burning = "signal.signal(signal.SIGXCPU, signal.SIG_IGN)\n  while True: pass"
    with Sandbox(command=decoding_by(burning)) as sandbox:
        with pytest.raises(MediaError, match="more than 1 s of processor time") as caught:
            sandbox.decode(clip, Bounds(cpu_seconds=1))
        assert caught.value.reason == "timed_out"


def test_the_child_has_no_network_starts_nothing_and_writes_nothing(tmp_path):
    code = (
        "import ctypes, os, socket, subprocess, sys\nfrom deemo_dist.media.confine import confine\n"
        "file = open('/proc/self/status')\nconfine()\n"
        "def refused(act):\n  try:\n    act()\n  except OSError:\n    return True\n"
        "def write():\n  with open(sys.argv[1], 'w') as file:\n    file.write('x')\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "assert refused(socket.socket), 'socket'\n"
        "assert refused(lambda: socket.socket(socket.AF_UNIX)), 'unix'\n"
        "assert refused(lambda: os.execv(sys.executable, ['python'])), 'exec'\n"
        "assert refused(write), 'write'\n"
        "status = file.read()\n"
        "assert 'NoNewPrivs:\\t1' in status and 'Seccomp:\\t2' in status\n"
        "assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 0\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 48000, 96000])
def test_resampling_in_blocks_gives_the_samples_of_the_whole(rate):
    sound = np.random.default_rng(0).normal(0, 0.1, rate + 17).astype(np.float32)
    blocks = Resampler(rate, 16000)
    made = [part for start in range(0, len(sound), 777) for part in blocks.push(sound[start : start + 777])]
    assert np.array_equal(np.concatenate([*made, *blocks.finish()]), resample(sound, rate))


@pytest.mark.parametrize("target", ["file", "memory"])
def test_a_writer_gives_the_bytes_of_encoding_at_once(tmp_path, frames, target):
    path, buffer = tmp_path / "a.mp4", io.BytesIO()
    with VideoWriter(path if target == "file" else buffer) as writer:
        writer.begin(width=64, height=48, fps=24, times=np.arange(30) / 24)
        for number, frame in enumerate(frames):
            writer.write(frame, number / 24)
        info = writer.close()
    assert (path.read_bytes() if target == "file" else buffer.getvalue()) == encode_video(frames, 24)
    assert (info.frames, info.fps, info.width, info.height) == (30, 24, 64, 48)


def test_a_writer_refuses_what_was_not_announced(tmp_path, frames):
    with VideoWriter(tmp_path / "a.mp4") as writer:
        writer.begin(width=64, height=48, fps=24, times=np.arange(2) / 24)
        with pytest.raises(ValueError, match="uint8"):
            writer.write(frames[0, :40])
        writer.write(frames[0])
        with pytest.raises(ValueError, match="not as many"):
            writer.close()
        writer.write(frames[1])
        with pytest.raises(ValueError, match="more than"):
            writer.write(frames[2])
        assert writer.close().frames == 2


def released(source) -> tuple[np.ndarray, bytes]:
    """The clip written again as it comes: times of its frames, MP4."""
    times = np.array(looked(source)[0])
    buffer = io.BytesIO()
    with VideoWriter(buffer) as writer:
        info = source.info
        writer.begin(width=info.width, height=info.height, fps=info.fps, times=times)
        for _, when, image in source.frames():
            writer.write(image, when)
        writer.close()
    return times, buffer.getvalue()


@pytest.mark.parametrize(
    "rate",
    [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60000, 1001), Fraction(25), Fraction(1), Fraction(15, 2)],
)
def test_rate_and_duration_come_out_within_half_a_frame_and_20_ms(sandbox, helpers, tmp_path, frames, rate):
    path = helpers.write_video(tmp_path / "a.mkv", frames, rate=rate)
    times, data = released(sandbox.open(path, BOUNDS))
    after = probe(data)
    most = min(0.02, 0.5 / float(rate))
    assert np.abs(times - np.arange(30) / float(rate)).max() <= most
    assert abs(after.seconds - 30 / float(rate)) <= most
    assert abs(float(after.fps - rate)) * 30 / float(rate) < 0.5
    (tmp_path / "again.mp4").write_bytes(data)
    assert np.abs(decode_here(tmp_path / "again.mp4", BOUNDS).frame_times - times).max() <= most


@pytest.mark.parametrize("seed", range(3))
def test_a_variable_rate_comes_out_frame_by_frame(sandbox, tmp_path, frames, seed):
    shown = np.cumsum(np.concatenate([[0.0], np.random.default_rng(seed).uniform(0.005, 0.4, 29)]))
    (tmp_path / "vfr.mp4").write_bytes(encode_video(frames, 30 / shown[-1], times=shown))
    times, data = released(sandbox.open(tmp_path / "vfr.mp4", BOUNDS))
    assert np.abs(times - shown).max() < 1e-3
    (tmp_path / "again.mp4").write_bytes(data)
    assert np.abs(decode_here(tmp_path / "again.mp4", BOUNDS).frame_times - shown).max() < 1e-3


def shifted(path: Path, frames: np.ndarray, start: int, kind: str = "matroska") -> Path:
    """A file whose first picture is shown at ``start`` ms."""
    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.options = {"bf": "0"}
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = start + 40 * number, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("start", "kind"), [(-2000, "nut"), (5000, "matroska"), (1234, "mpegts")])
def test_times_that_do_not_begin_at_zero_do(sandbox, tmp_path, frames, start, kind):
    times, images = looked(sandbox.open(shifted(tmp_path / "a", frames, start, kind), BOUNDS))
    assert np.allclose(times, np.arange(30) / 25, atol=2e-3)
    assert len(images) == 30


def test_of_several_streams_the_first_of_each_kind_counts(sandbox, tmp_path, helpers, frames):
    path = tmp_path / "many.mkv"
    with av.open(str(path), "w") as container:
        videos = [container.add_stream("libx264", rate=24) for _ in range(2)]
        sounds = [container.add_stream("pcm_s16le", rate=8000, layout="mono") for _ in range(2)]
        for stream, side in zip(videos, (48, 96), strict=True):
            stream.height, stream.width, stream.pix_fmt = side, 64, "yuv420p"
        for number, image in enumerate(frames):
            for stream, rows in zip(videos, (1, 2), strict=True):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image.repeat(rows, 0), format="rgb24")))
            for stream, level in zip(sounds, (0.1, 0.9), strict=True):
                block = np.full((1, 333), level * 32767, np.int16)
                frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = 8000, 333 * number, Fraction(1, 8000)
                container.mux(stream.encode(frame))
        for stream in (*videos, *sounds):
            container.mux(stream.encode(None))
    source = sandbox.open(path, BOUNDS)
    _, images = looked(source)
    assert images.shape == (30, 48, 64, 3)
    assert np.median(source.sound()[0]) == pytest.approx(0.1, abs=0.01)


def test_sound_that_begins_late_or_early_is_put_in_its_place(sandbox, tmp_path, frames):
    for offset, click_at in ((0.5, 0.5), (-0.5, 0.0)):
        path = tmp_path / f"{offset}.mkv"
        with av.open(str(path), "w") as container:
            video = container.add_stream("libx264", rate=24)
            video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
            sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
            block = np.full((1, 8000), 20000, np.int16)
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 8000, round((1 + offset) * 8000), Fraction(1, 8000)
            container.mux(sound.encode(frame))
            for number, image in enumerate(frames):
                picture = av.VideoFrame.from_ndarray(image, format="rgb24")
                picture.pts, picture.time_base = 24 + number, Fraction(1, 24)
                container.mux(video.encode(picture))
            container.mux(video.encode(None))
            container.mux(sound.encode(None))
        source = sandbox.open(path, BOUNDS)
        waveform, rate = source.sound()
        assert abs(source.info.sound_end - len(waveform) / rate) < 0.02
        assert abs(np.flatnonzero(np.abs(waveform) > 0.3)[0] / rate - click_at) < 0.02
        assert abs(len(waveform) / rate - (1.5 if offset > 0 else 0.5)) < 0.02


@pytest.mark.parametrize(("kind", "readable"), [("avi", False), ("mkv", True), ("mp4", False)])
def test_a_broken_index_is_read_around_or_refused(sandbox, helpers, tmp_path, frames, kind, readable):
    codec = "mpeg4" if kind == "avi" else "libx264"
    data = bytearray(helpers.write_video(tmp_path / f"a.{kind}", frames, codec=codec).read_bytes())
    mark = {"avi": b"idx1", "mkv": b"\x1c\x53\xbb\x6b", "mp4": b"stco"}[kind]
    at = data.rindex(mark) + len(mark)
    data[at + 8 : at + 60] = bytes(255 for _ in data[at + 8 : at + 60])
    (tmp_path / f"broken.{kind}").write_bytes(data)
    if readable:
        assert len(looked(sandbox.open(tmp_path / f"broken.{kind}", BOUNDS))[0]) == 30
        return
    with pytest.raises(MediaError) as caught:
        looked(sandbox.open(tmp_path / f"broken.{kind}", BOUNDS))
    assert caught.value.reason == "corrupt"


def test_bounds_hold_before_a_frame_is_decoded(sandbox, clip):
    cases = (
        (Bounds(max_pixels=48 * 64 - 1), "too_large"),
        (Bounds(max_frames=29), "too_long"),
        (Bounds(max_seconds=1.0), "too_long"),
    )
    for bounds, reason in cases:
        with pytest.raises(MediaError) as caught:
            sandbox.open(clip, bounds)
        assert (caught.value.stage, caught.value.reason) == ("decode", reason)


def test_a_header_that_lies_about_its_length_is_held_to_the_bounds_while_decoding(sandbox, helpers, tmp_path, frames):
    """A raw H.264 stream tells neither its frames nor its duration."""
    path = helpers.write_video(tmp_path / "raw.h264", np.concatenate([frames] * 4))
    with pytest.raises(MediaError) as caught:
        looked(sandbox.open(path, Bounds(max_frames=60)))
    assert caught.value.reason == "too_long"


def test_a_clip_in_memory_is_a_source_too(heard):
    whole = decode_here(heard, BOUNDS)
    source = MemoryClip(whole)
    times, images = looked(source)
    assert np.array_equal(images, whole.frames)
    assert np.array_equal(times, whole.frame_times)
    assert source.sound()[1] == 16000
    assert (source.info.fps, source.info.seconds) == (24, pytest.approx(30 / 24))
