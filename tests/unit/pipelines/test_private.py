"""The folder of a raw clip: private, short-lived, and swept when its owner was killed."""

import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from deemo_dist.errors import DatasetError, DeemoError
from pipelines import private
from pipelines.private import PREFIX, by_place, private_folder, sweep

HOLD = """
import sys, time
from pathlib import Path
from pipelines import private
private.MEMORY = sys.argv[1]
with private.private_folder() as folder:
    (folder / "clip").write_bytes(b"raw")
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(private, "MEMORY", str(tmp_path))
    return tmp_path


def test_a_folder_is_ones_own_and_gone_afterwards(memory: Path) -> None:
    with private_folder() as folder:
        assert folder.parent == memory
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "clip").write_bytes(b"raw")
    assert list(memory.iterdir()) == []
    with pytest.raises(KeyError), private_folder():
        raise KeyError
    assert list(memory.iterdir()) == []


def test_without_such_memory_the_temporary_folder_serves(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "MEMORY", "/does/not/exist")
    monkeypatch.setattr("tempfile.tempdir", str(memory))
    with private_folder() as folder:
        assert folder.parent == memory


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_holds_is_not(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-c", HOLD, str(memory)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) for _ in range(2)]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "held\n"
        children[0].send_signal(signal.SIGKILL)
        children[0].wait()
        (memory / "another's").mkdir()
        assert sweep(memory) == 0, "too young to be told from one that is just being made"
        monkeypatch.setattr(private, "YOUNG_SECONDS", 0.0)
        assert sweep(memory) == 1
        assert len(list(memory.glob(f"{PREFIX}*/clip"))) == 1
        assert (memory / "another's").is_dir()
    finally:
        for child in children:
            child.kill()
            child.wait()
            assert child.stdout is not None
            child.stdout.close()


def test_an_unexpected_error_tells_its_place_and_nothing_else() -> None:
    @by_place()
    def read(path: str) -> None:
        {"known": 1}[path]

    with pytest.raises(DeemoError, match=r"KeyError in read \(.*test_private.py:\d+\)") as caught:
        read("/raw/Zora " + "inobmaZ"[::-1])  # spelt so that no line of source has it
    said = "".join(traceback.format_exception(caught.value))
    assert "inobmaZ"[::-1] not in said
    with pytest.raises(DatasetError, match="as it is"), by_place():
        raise DatasetError("as it is")
