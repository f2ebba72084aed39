"""Files as objects: atomic writes, put-if-absent among processes, and the faults of a disk."""

import mmap
import multiprocessing
import os
import pickle
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deemo_dist.config import StorageConfig
from deemo_dist.errors import AlreadyExistsError, ConfigError, CorruptDataError, NotFoundError, StorageError
from deemo_dist.storage import Store, fetch_uri, files, open_store, read_uri


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(StorageConfig(root=f"file://{tmp_path}/store"))


def test_objects_come_back_and_are_listed(store: Store) -> None:
    for key in ("b/2", "b/1", "a", "b/c/3", "bb/4"):
        store.put(key, key.encode())
    assert store.get("b/c/3") == b"b/c/3"
    assert store.list("") == ["a", "b/1", "b/2", "b/c/3", "bb/4"]
    assert store.list("b") == store.list("b/") == ["b/1", "b/2", "b/c/3"]
    assert store.list("nothing/here") == []
    assert store.size("b/1") == 3 and store.exists("a") and not store.exists("b")
    store.delete("a")
    store.delete("a")
    assert not store.exists("a")


def test_ranges_are_exact(store: Store) -> None:
    store.put("k", b"0123456789")
    assert store.get_range("k", 2, 3) == b"234"
    assert store.get_range("k", 0, 0) == b""
    for start, length in ((8, 3), (20, 1)):
        with pytest.raises(CorruptDataError, match="ends early"):
            store.get_range("k", start, length)
    with pytest.raises(StorageError):
        store.get_range("k", -1, 2)


def test_pieces_are_written_as_one_object(store: Store) -> None:
    pieces = [bytes([number % 251]) * (number % 7) for number in range(3000)]  # more than one call takes
    store.put_chunks("deep/k", pieces)
    assert store.get("deep/k") == b"".join(pieces)
    store.put_chunks("deep/k", [])
    assert store.get("deep/k") == b""


def test_a_write_that_takes_less_than_it_was_given_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    writev = os.writev
    monkeypatch.setattr(os, "writev", lambda number, pieces: writev(number, [pieces[0][:3]]))
    store.put_chunks("k", [b"0123456789", b"", b"abc"])
    assert store.get("k") == b"0123456789abc"


def test_large_pieces_are_written_in_portions_that_the_disk_begins_with_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    portions, advised, writev, advise = list[int](), list[tuple[int, int]](), os.writev, os.posix_fadvise

    def counted(number: int, pieces: list[bytes]) -> int:
        portions.append(sum(map(len, pieces)))
        return writev(number, pieces)

    def noted(number: int, start: int, size: int, advice: int) -> None:
        advised.append((start, size))
        advise(number, start, size, advice)

    monkeypatch.setattr(files, "AHEAD", 100)
    monkeypatch.setattr(os, "writev", counted)
    monkeypatch.setattr(os, "posix_fadvise", noted)
    mapped = mmap.mmap(-1, 250)
    mapped[:] = bytes(range(250))
    pieces = [b"a" * 40, b"b" * 70, b"", mapped, b"c" * 100, b"d"]
    store.put_chunks("k", pieces)  # type: ignore[arg-type]
    assert store.get("k") == b"".join(map(bytes, pieces))
    assert portions == [40, 70, 100, 100, 50, 100, 1]
    assert advised == [(sum(portions[:number]), size) for number, size in enumerate(portions)]


def test_one_object_is_told_as_the_listing_tells_it(store: Store) -> None:
    store.put("a/k", b"123")
    assert [store.stat("a/k")] == list(store.entries("a"))
    for key in ("a", "a/none"):
        with pytest.raises(NotFoundError):
            store.stat(key)


def test_missing_objects_and_folders_are_not_found(store: Store) -> None:
    store.put("folder/file", b"x")
    for key in ("nope", "folder", "folder/file/below"):
        for call in (store.get, store.size):
            with pytest.raises(NotFoundError):
                call(key)


def test_replacing_leaves_no_half_written_state(store: Store, tmp_path: Path) -> None:
    """A reader that races a writer sees one whole version or the other."""
    versions = [bytes([value]) * 200_000 for value in (1, 2)]
    store.put("k", versions[0])
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            store.put("k", versions[number % 2])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert all(store.get("k") in versions for _ in range(200))
    finally:
        stop.set()
        writer.join()
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["k"]


def _claim(root: str, writer: int, start: object, won: object) -> None:
    store = open_store(StorageConfig(root=root))
    start.wait()  # type: ignore[attr-defined]
    for number in range(20):
        try:
            store.put_new(f"race/{number}", f"{writer}".encode() * 1000)
        except AlreadyExistsError:
            continue
        won.put((number, writer))  # type: ignore[attr-defined]


@pytest.mark.slow
def test_one_of_eight_processes_wins_each_key(store: Store) -> None:
    context = multiprocessing.get_context("spawn")
    start, won = context.Barrier(8), context.Queue()
    writers = [context.Process(target=_claim, args=(store.root, writer, start, won)) for writer in range(8)]
    for process in writers:
        process.start()
    claims = dict(won.get(timeout=60) for _ in range(20))
    for process in writers:
        process.join()
    assert sorted(claims) == list(range(20)) and won.empty()
    for number, writer in claims.items():
        assert store.get(f"race/{number}") == f"{writer}".encode() * 1000


def test_a_link_whose_answer_was_lost_is_this_writers(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As over NFS: the link is made, the answer lost, and the second try finds the name taken."""
    link = os.link

    def lossy(source: Path, target: Path) -> None:
        link(source, target)
        raise FileExistsError(17, "File exists")

    monkeypatch.setattr(os, "link", lossy)
    store.put_new("k", b"first")
    assert store.get("k") == b"first"
    monkeypatch.undo()
    with pytest.raises(AlreadyExistsError):
        store.put_new("k", b"second")


def test_a_file_system_without_hard_links_is_told_as_that(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    with pytest.raises(StorageError, match=r"the file system has no hard links.*another storage\.root"):
        store.put_new("k", b"first")


def test_put_new_refuses_a_taken_key(store: Store) -> None:
    store.put_new("k", b"first")
    with pytest.raises(AlreadyExistsError, match="k exists already"):
        store.put_new("k", b"second")
    assert store.get("k") == b"first"


def test_upload_and_download(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3_000_000))
    store.upload(source, "big")
    store.download("big", tmp_path / "new" / "copy")
    assert (tmp_path / "new" / "copy").read_bytes() == source.read_bytes()
    with pytest.raises(NotFoundError):
        store.upload(tmp_path / "missing", "k")
    with pytest.raises(NotFoundError):
        store.download("missing", tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_a_store_can_be_pickled_and_its_uris_read(store: Store, tmp_path: Path) -> None:
    store.put("a b/ü%41.bin", b"data")
    again = pickle.loads(pickle.dumps(store))
    assert again.root == store.root and again.get("a b/ü%41.bin") == b"data"
    uri = store.uri("a b/ü%41.bin")
    assert read_uri(uri, StorageConfig()) == b"data"
    assert fetch_uri(uri, StorageConfig(), tmp_path / "copy").read_bytes() == b"data"
    assert store.local_path("a") == tmp_path / "store" / "a"


def test_errors_about_a_uri_do_not_quote_it(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        read_uri(f"file://{tmp_path}/serena-williams.mp4", StorageConfig(), label="clip 17")
    assert "serena" not in str(caught.value) and "clip 17" in str(caught.value)


@pytest.mark.parametrize("place", ["absent", "empty", "a file"])
def test_a_file_whose_folder_this_machine_does_not_have_is_not_called_missing(tmp_path: Path, place: str) -> None:
    """As where a file system is not mounted: nothing is known of the file."""
    folder = tmp_path / "Serena Williams"
    if place == "empty":
        folder.mkdir()
    elif place == "a file":
        folder.touch()
    with pytest.raises(StorageError, match=r"clip 17 cannot be looked for: .* mount the file system") as caught:
        fetch_uri(f"file://{folder}/serena-williams.mp4", StorageConfig(), tmp_path / "copy", label="clip 17")
    assert not isinstance(caught.value, NotFoundError) and "serena" not in str(caught.value).lower()


def test_a_file_that_is_gone_from_beside_others_is_missing(tmp_path: Path) -> None:
    (tmp_path / "other.mp4").touch()
    with pytest.raises(NotFoundError, match="clip 17 is not in file storage"):
        fetch_uri(f"file://{tmp_path}/gone.mp4", StorageConfig(), tmp_path / "into" / "copy", label="clip 17")


def test_a_relative_root_is_relative_to_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store(StorageConfig(root="file://build/store"))
    store.put("k", b"x")
    assert (tmp_path / "build" / "store" / "k").read_bytes() == b"x"


def test_a_file_in_the_way_is_said_in_one_line(store: Store) -> None:
    store.put("a", b"x")
    with pytest.raises(StorageError, match="cannot write a/b") as caught:
        store.put("a/b", b"y")
    assert "\n" not in str(caught.value) and caught.value.hint
    store.put("folder/file", b"")
    with pytest.raises(StorageError, match="cannot write folder"):
        store.put("folder", b"y")
    assert store.list("") == ["a", "folder/file"]


def _mounted(folder: Path, options: str) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    yield from _mounted(tmp_path / "small", "size=1m")


def test_a_full_disk_keeps_the_old_object_and_leaves_nothing(small_disk: Path) -> None:
    store = open_store(StorageConfig(root=f"file://{small_disk}"))
    store.put("k", b"old" * 1000)
    with pytest.raises(StorageError, match=r"No space left on device.*free some space"):
        store.put("k", b"x" * 2_000_000)
    with pytest.raises(StorageError, match="No space left"):
        store.put_new("other", b"x" * 2_000_000)
    assert store.get("k") == b"old" * 1000
    assert [path.name for path in small_disk.iterdir()] == ["k"]
    store.put("k", b"x" * 500_000)


def test_a_read_only_file_system_can_be_read_but_not_written(small_disk: Path) -> None:
    store = open_store(StorageConfig(root=f"file://{small_disk}"))
    store.put("k", b"data")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert store.get("k") == b"data" and store.list("") == ["k"]
    for call in (store.put, store.put_new):
        with pytest.raises(StorageError, match=r"Read-only file system.*another storage.root"):
            call("new/k", b"x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any folder")
def test_a_folder_of_another_owner_is_said_in_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="Permission denied"):
        open_store(StorageConfig(root=f"file://{tmp_path}/x")).put("k", b"x")


def test_entries_tell_size_and_time_and_history_also_what_was_half_written(store: Store, tmp_path: Path) -> None:
    before = store.clock() - 1
    store.put("a/one", b"12")
    store.put("a/two", b"345")
    (tmp_path / "store/a/.dead.tmp").write_bytes(b"half")
    assert [(stored.key, stored.size) for stored in store.entries("a")] == [("a/one", 2), ("a/two", 3)]
    assert all(before <= stored.modified <= store.clock() + 1 for stored in store.entries(""))
    kept = {stored.key: stored for stored in store.history("a")}
    assert sorted(kept) == ["a/.dead.tmp", "a/one", "a/two"] and store.read(kept["a/.dead.tmp"]) == b"half"
    for stored in kept.values():
        store.remove(stored)
        store.remove(stored)
    assert not store.history("")


def test_the_clock_is_the_file_systems_and_not_this_machines(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over NFS times are the server's: ages told by another clock would make what is being written old."""
    store.put("k", b"x")
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert abs(store.clock() - store.stat("k").modified) < 60
    assert store.list("") == ["k"] and len(store.history("")) == 1
    assert open_store(StorageConfig(root=f"{store.root}/nowhere")).clock() == 0.0


def test_a_copy_is_the_same_bytes_and_lives_on_alone(store: Store) -> None:
    store.put("from", b"same")
    store.copy("from", "deep/to")
    store.delete("from")
    assert store.get("deep/to") == b"same"
    with pytest.raises(NotFoundError):
        store.copy("from", "again")


def test_folders_behind_links_are_listed_and_circles_end(store: Store, tmp_path: Path) -> None:
    """As where ``datasets/`` is a link to another disk: an erasure searches what is listed."""
    store.put("datasets/demo/x", b"x")
    store.put("runs/y", b"y")
    (tmp_path / "store/datasets").rename(tmp_path / "elsewhere")
    (tmp_path / "store/datasets").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/demo/up").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "store/runs/root").symlink_to(tmp_path / "store")
    (tmp_path / "store/runs/gone").symlink_to(tmp_path / "nowhere")
    assert store.list("datasets") == ["datasets/demo/x"]
    keys = {stored.key for stored in store.history("")}
    assert {"datasets/demo/x", "runs/y"} <= keys and len(keys) < 20
    store.remove(next(stored for stored in store.history("") if stored.key == "datasets/demo/x"))
    assert not (tmp_path / "elsewhere/demo/x").exists()


@pytest.mark.parametrize("root", ["", " ", "file://", "file:// "])
def test_an_empty_root_is_not_the_working_folder(root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"storage\.root is empty - .*for the working folder, file://\."):
        open_store(StorageConfig(root=root))
    open_store(StorageConfig(root="file://.")).put("k", b"v")
    assert (tmp_path / "k").read_bytes() == b"v"
