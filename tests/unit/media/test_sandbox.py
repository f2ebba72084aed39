import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from deemo_dist.errors import MediaError
from deemo_dist.media import Bounds, Sandbox, decode_here

BOUNDS = Bounds(cpu_seconds=20, memory_mb=1024)

DIES = """
import os, pathlib, signal, sys
from deemo_dist.media import child
marker, always = pathlib.Path(sys.argv[1]), sys.argv[2] == "always"
first = not marker.exists()
marker.touch()
real = child.decode_into
def decode(clip, bounds, sink, **wanted):
    class Half:
        seen = 0
        sound = sink.sound
        def frame(self, image, moment):
            sink.frame(image, moment)
            Half.seen += 1
            if Half.seen == 3 and "bad" in clip.name and (always or first):
                os.kill(os.getpid(), signal.SIGKILL)
    return real(clip, bounds, Half(), **wanted)
child.decode_into = decode
child.main()
"""


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as one:
        yield one


def dying(tmp_path: Path, how: str) -> Sandbox:
    return Sandbox(command=(sys.executable, "-c", DIES, str(tmp_path / "died"), how))


def test_it_decodes_what_decoding_here_decodes(sandbox, clip):
    inside, here = sandbox.decode(clip, BOUNDS), decode_here(clip, BOUNDS)
    assert np.array_equal(inside.frames, here.frames)
    assert np.array_equal(inside.frame_times, here.frame_times)
    assert inside.fps == here.fps


def test_one_child_serves_many_clips_good_and_bad(sandbox, clip, tmp_path):
    sandbox.decode(clip, BOUNDS)
    child = sandbox.pid
    (tmp_path / "text.mp4").write_text("text")
    (tmp_path / "empty.mp4").touch()
    for name, reason in (("text.mp4", "not_media"), ("empty.mp4", "empty"), ("none.mp4", "missing")):
        with pytest.raises(MediaError) as caught:
            sandbox.decode(tmp_path / name, BOUNDS)
        assert caught.value.reason == reason
        assert name not in str(caught.value)
    with pytest.raises(MediaError) as caught:
        sandbox.decode(clip, Bounds(max_frames=5))
    assert caught.value.reason == "too_long"
    assert sandbox.decode(clip, BOUNDS).frames.shape[0] == 30
    assert sandbox.pid == child


def test_probing_in_the_child(sandbox, clip):
    info = sandbox.probe(clip, BOUNDS)
    assert (info.width, info.height, info.frames, info.fps) == (64, 48, 30, 24)


def test_a_child_killed_once_is_replaced_and_the_clip_is_fine(tmp_path, clip):
    bad = clip.rename(tmp_path / "clip.bad")
    with dying(tmp_path, "once") as sandbox:
        assert sandbox.decode(bad, BOUNDS).frames.shape[0] == 30
    assert (tmp_path / "died").exists()


def test_a_clip_that_kills_two_children_is_rejected_and_the_next_is_fine(tmp_path, clip):
    bad = tmp_path / "clip.bad"
    bad.write_bytes(clip.read_bytes())
    with dying(tmp_path, "always") as sandbox:
        with pytest.raises(MediaError) as caught:
            sandbox.decode(bad, BOUNDS)
        assert (caught.value.stage, caught.value.reason) == ("decode", "crashed")
        assert sandbox.decode(clip, BOUNDS).frames.shape[0] == 30


def test_a_child_killed_between_clips_does_not_count(sandbox, clip):
    sandbox.decode(clip, BOUNDS)
    os.kill(sandbox.pid, signal.SIGKILL)
    assert sandbox.decode(clip, BOUNDS).frames.shape[0] == 30


@pytest.mark.slow
def test_too_much_processor_time_is_a_rejection(tmp_path, clip):
    spin = (
        "from deemo_dist.media import child\ndef spin(*_, **__):\n  while True: pass\n"
        "child.decode_into = spin\nchild.main()"
    )
    with Sandbox(command=(sys.executable, "-c", spin)) as sandbox:
        with pytest.raises(MediaError) as caught:
            sandbox.decode(clip, Bounds(cpu_seconds=0.1))
        assert caught.value.reason == "timed_out"
        assert sandbox.pid is None


def test_memory_is_bounded(clip):
    grab = (
        "import numpy as np\nfrom deemo_dist.media import child\n"
        "def grab(*_, **__):\n  np.ones(2**28)\nchild.decode_into = grab\nchild.main()"
    )
    with Sandbox(command=(sys.executable, "-c", grab)) as sandbox:
        with pytest.raises(MediaError) as caught:
            sandbox.decode(clip, Bounds(memory_mb=500))
        assert caught.value.reason == "too_large"


def test_the_child_has_no_secrets_and_cannot_write(clip, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not for the child")
    monkeypatch.setenv("DEEMO_ROOT_KEY", "nor this")
    with Sandbox() as sandbox:
        sandbox.decode(clip, BOUNDS)
        process = Path(f"/proc/{sandbox.pid}")
        environment = (process / "environ").read_bytes()
        assert b"not for the child" not in environment
        assert b"nor this" not in environment
        limits = {line[:26].strip(): line[26:].split()[:2] for line in (process / "limits").read_text().splitlines()}
        assert limits["Max core file size"] == ["0", "0"]
        assert limits["Max file size"] == ["0", "0"]
        assert int(limits["Max address space"][0]) < 8 * 2**30


INSIDE = """
import os, sys
from deemo_dist.errors import MediaError
from deemo_dist.media import child
def attempt(deed):
    try:
        return deed() or "done"
    except OSError as error:
        return "refused"
def decode(clip, bounds, sink, **wanted):
    parent, own = f"/proc/{os.getppid()}/environ", f"/proc/{os.getppid()}/fd/0"
    tried = [
        attempt(lambda: open(parent, "rb").read()),
        attempt(lambda: open(sys.argv[1]).read()),
        attempt(lambda: os.open(sys.argv[1], os.O_RDONLY)),
        attempt(lambda: os.remove(sys.argv[1])),
        attempt(lambda: os.rename(sys.argv[1], sys.argv[1] + "x")),
        attempt(lambda: os.truncate(sys.argv[1], 0)),
        attempt(lambda: os.readlink(own)),
        attempt(lambda: os.setuid(1)),
    ]
    raise MediaError(" ".join(map(str, tried)), reason="corrupt")
child.decode_into = decode
child.main()
"""


def test_the_child_opens_no_file_and_reads_no_other_process(clip, tmp_path, monkeypatch):
    monkeypatch.setenv("DEEMO_ROOT_KEY", "not for the child")
    key = tmp_path / "root.key"
    key.write_text("pretend")
    key.chmod(0o600)
    with Sandbox(command=(sys.executable, "-c", INSIDE, str(key))) as sandbox:
        with pytest.raises(MediaError) as caught:
            sandbox.decode(clip, BOUNDS)
        status = Path(f"/proc/{sandbox.pid}/status").read_text()
    assert caught.value.message.split() == ["refused"] * 8
    assert "CapEff:\t0000000000000000" in status and "CapPrm:\t0000000000000000" in status
    assert key.read_text() == "pretend"


@pytest.mark.parametrize(
    "said", ['{"reason": "Anna Keller", "message": "x"}', '{"reason": "corrupt", "message": "a\\nb"}', "no json", "[]"]
)
def test_what_a_child_says_for_a_reason_is_of_a_closed_set(clip, said):
    lie = (
        "import os\nfrom deemo_dist.media import child\n"
        f"def lie(pipe, *_):\n  pipe.send(b'X', {said!r}.encode())\nchild._serve = lie\nchild.main()"
    )
    with Sandbox(command=(sys.executable, "-c", lie)) as sandbox, pytest.raises(MediaError) as caught:
        sandbox.decode(clip, BOUNDS)
    assert (caught.value.stage, caught.value.reason) == ("decode", "crashed")
    assert "Anna" not in str(caught.value)


@pytest.mark.slow
def test_closing_ends_the_child_and_so_does_the_parents_death(clip):
    with Sandbox() as sandbox:
        sandbox.decode(clip, BOUNDS)
        child = sandbox.pid
    assert not Path(f"/proc/{child}").exists()
    script = (
        "import os, sys, pathlib\nfrom deemo_dist.media import Sandbox, Bounds\n"
        "s = Sandbox(); s.decode(pathlib.Path(sys.argv[1]), Bounds())\nprint(s.pid, flush=True); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(clip)], capture_output=True, text=True, timeout=60)
    orphan = Path(f"/proc/{int(done.stdout)}")
    deadline = time.monotonic() + 10
    while _alive(orphan) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(orphan)


def _alive(process: Path) -> bool:
    try:
        return process.joinpath("stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_sandbox_does_not_travel():
    with pytest.raises(TypeError, match="process"):
        pickle.dumps(Sandbox())


def test_importing_media_loads_no_ffmpeg():
    code = "import sys, deemo_dist.media; assert not {'av', 'cv2', 'scipy', 'torch', 'soundfile'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mp4", "mkv", "avi"])
def test_mutilated_files_are_decoded_or_rejected_and_never_kill_the_child(sandbox, helpers, tmp_path, frames, kind):
    codec = "mpeg4" if kind == "avi" else "libx264"
    whole = helpers.write_video(tmp_path / f"whole.{kind}", frames, codec=codec, faststart=kind == "mp4").read_bytes()
    sandbox.decode(tmp_path / f"whole.{kind}", BOUNDS)
    child, outcomes = sandbox.pid, set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        data = bytearray(whole)
        for place in rng.integers(0, min(len(data), 900 if seed % 2 else len(data)), 1 + seed // 2):
            data[place] = rng.integers(256)
        path = tmp_path / f"{seed}.{kind}"
        path.write_bytes(data)
        try:
            sandbox.decode(path, BOUNDS)
            outcomes.add("decoded")
        except MediaError as error:
            outcomes.add(error.reason)
    assert sandbox.pid == child
    assert outcomes <= {"decoded", "corrupt", "not_media", "no_video", "too_large", "too_long"}
    assert len(outcomes) > 1
