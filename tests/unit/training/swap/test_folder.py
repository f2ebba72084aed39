"""A rank's folder on a real disk: who holds it, what is removed, what is refused."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deemo_dist.errors import TrainingError
from deemo_dist.training.swap.folder import SwapFolder, check_room, check_root, removed_on_failure
from tests.unit.training.swap.test_files import files_up_to

HOLD = (
    "import sys; from pathlib import Path; from deemo_dist.training.swap.folder import SwapFolder;"
    " made = SwapFolder(sys.argv[1], 3); (made.path / 'state').write_bytes(bytes(9)); print(made.path, flush=True);"
    " sys.stdin.read()"
)


def test_what_a_dead_process_left_is_removed_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        mine = SwapFolder(str(tmp_path), 0)
        assert (theirs / "state").exists() and mine.path.parent == theirs.parent == tmp_path
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    again = SwapFolder(str(tmp_path), 0)
    assert not theirs.exists() and mine.path.exists() and again.path != mine.path
    for each in (mine, again, again):
        each.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_failure_meanwhile_removes_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), removed_on_failure(SwapFolder(str(tmp_path), 0)):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_buffer_is_on_the_disk_while_it_is_held(tmp_path: Path) -> None:
    folder = SwapFolder(str(tmp_path), 0)
    buffer = folder.buffer(10_000)
    assert len(buffer) == 10_000 and bytes(buffer) == bytes(10_000)
    buffer[:3] = b"abc"
    assert bytes(buffer[:4]) == b"abc\0"
    assert sorted(each.name for each in folder.path.iterdir()) == ["owner"]
    folder.remove()


def test_a_disk_without_room_is_refused(tmp_path: Path) -> None:
    folder = SwapFolder(str(tmp_path), 0)
    with folder.reserved(2**20):
        pass
    with files_up_to(2**20):
        for ask in (lambda: folder.buffer(2**21), lambda: folder.reserved(2**21).__enter__()):
            with pytest.raises(TrainingError, match=r"GiB free, swapping needs 0\.00 - free some, name a larger disk"):
                ask()
    with pytest.raises(TrainingError, match=r"swapping needs 1048576\.00 - "):
        check_room(str(tmp_path), 2**50)
    check_room(str(tmp_path), 1)
    folder.remove()


def test_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("missing", "file"):
        with pytest.raises(TrainingError, match="is no folder of this machine"):
            check_root(str(tmp_path / name))
    with pytest.raises(TrainingError, match=r"/proc cannot be written: .* - another folder"):
        check_root("/proc")
