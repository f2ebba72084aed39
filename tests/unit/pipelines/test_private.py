"""The folder of a raw clip: private, short-lived, and swept when its owner was killed."""

import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from deemo_dist.config import StorageConfig
from deemo_dist.console import MASK, scrub
from deemo_dist.errors import ConfigError, DatasetError, DeemoError, RejectedClipError, StorageError
from deemo_dist.records import Clip
from pipelines import private
from pipelines.private import PREFIX, by_place, fetch_raw, hiding_clip, private_folder, sweep

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


def test_a_chosen_folder_serves_and_one_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    with private_folder(str(tmp_path / "own")) as folder:
        assert folder.parent == tmp_path / "own"
    with pytest.raises(ConfigError, match=r"raw_folder is .*nowhere, which is no folder"), private_folder("/nowhere"):
        pass


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of a megabyte, as /dev/shm is small in a container."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def raw_clip(tmp_path: Path, *, said: int) -> Clip:
    """A clip of three megabytes of which a manifest says another size."""
    path = tmp_path / "Serena.mp4"
    path.write_bytes(bytes(3_000_000))
    return Clip(uri=f"file://{path}", subject="7", split="train", source="s", size_bytes=said)


@pytest.mark.parametrize("said", [3_000_000, 0])
def test_a_clip_that_does_not_fit_ends_the_run_and_is_not_rejected(small: Path, tmp_path: Path, said: int) -> None:
    """By what the manifest says before it is fetched, else when the space ends."""
    clip = raw_clip(tmp_path, said=said)
    told = rf"clip k needs (3 MB|more than there is) in {small}, where 1 MB of 1 are free: .*--shm-size.*raw_folder"
    with private_folder(str(small)) as folder:
        with pytest.raises(DeemoError, match=told) as caught:
            fetch_raw(clip, StorageConfig(), folder / "k", label="clip k")
        assert not list(folder.iterdir())
    assert not isinstance(caught.value, (RejectedClipError, StorageError))
    assert "Serena" not in str(caught.value) and "storage.root" not in str(caught.value)


@pytest.mark.parametrize(
    "said",
    [
        "no face of Zamboni", "zora_3", "of Žofia", "of zofia", "a title: Zora-Žofia Zamboni, again",
        "Nobody saw what she did.", "she said: I saw it all", "/raw/Interview 3.mp4",
    ],
)  # fmt: skip
def test_neither_a_word_of_a_persons_name_nor_a_text_is_said_while_a_clip_is_at_hand(said: str) -> None:
    clip = Clip(
        uri="file:///raw/Interview 3.mp4",
        subject="Zora-Žofia Zamboni Speaker 3",
        split="train",
        source="s",
        size_bytes=1,
        transcript="I saw it all",
        texts={"reasoning": "Nobody saw what she did."},
    )
    with hiding_clip(clip):
        assert MASK in scrub(said)
        assert not any(
            word in scrub(said).lower() for word in ("zora", "žofia", "zofia", "zamboni", "saw", "interview")
        )
        assert scrub("speaker 3 of 3: no will") == "speaker 3 of 3: no will"


def test_a_clip_is_not_fetched_where_it_does_not_fit(
    memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = raw_clip(tmp_path, said=3_000_000)
    usage = shutil.disk_usage(memory)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(total=64 * 10**6, free=2_999_999))
    with private_folder() as folder:
        with pytest.raises(DeemoError, match=rf"clip k needs 3 MB in {memory}, where 2 MB of 64 are free"):
            fetch_raw(clip, StorageConfig(), folder / "k", label="clip k")
        monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=3_000_000))
        assert fetch_raw(clip, StorageConfig(), folder / "k", label="clip k").stat().st_size == 3_000_000


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
