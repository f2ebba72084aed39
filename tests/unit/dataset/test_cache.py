"""The node's cache of blocks: the same bytes, fewer requests, bounded, shared, and never believed without a digest."""

import contextlib
import errno
import fcntl
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cache_functions import BLOCK, FarStore
from hypothesis import given, settings
from hypothesis import strategies as st

from deemo_dist.config import StorageConfig, TaskConfig
from deemo_dist.console import logger
from deemo_dist.dataset import build_examples, cached, load_examples, open_dataset, plan_units, remove_shards
from deemo_dist.dataset.cache import CachedStore
from deemo_dist.errors import ConfigError, CorruptDataError
from deemo_dist.storage import Store, open_store

KEY = "shards/a.tar"
LIMIT = 64 * BLOCK


def used(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def filled(store: Store, folder: Path, size: int = 10 * BLOCK + 777, **how: Any) -> tuple[CachedStore, FarStore, bytes]:
    data = random.Random(size).randbytes(size)
    store.put(KEY, data)
    far = FarStore(store)
    settings = {"limit": LIMIT, "block": BLOCK, **how}
    return CachedStore(far, folder, **settings), far, data  # type: ignore[arg-type]


@given(spans=st.lists(st.tuples(st.integers(0, 3 * BLOCK), st.integers(1, 2 * BLOCK)), min_size=1, max_size=8))
@settings(max_examples=25, deadline=None)
def test_any_range_is_that_of_the_store(spans: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("cache")
    store = open_store(StorageConfig(root=f"file://{folder / 'store'}"))
    cache, far, data = filled(store, folder / "blocks", size=5 * BLOCK + 13)
    for start, length in spans:
        assert cache.get_range(KEY, start, length) == data[start : start + length]
    before = len(far.reads)
    for start, length in spans:
        assert cache.get_range(KEY, start, length) == data[start : start + length]
    assert len(far.reads) == before


def test_neighbouring_blocks_come_in_one_request(store: Store, tmp_path: Path) -> None:
    cache, far, data = filled(store, tmp_path / "blocks")
    assert cache.get_range(KEY, 0, len(data)) == data
    assert far.reads == [(KEY, 0, len(data))]
    assert cache.get_range(KEY, len(data) - 5, 5) == data[-5:]
    assert len(far.reads) == 1
    with pytest.raises(CorruptDataError, match="ends early"):
        cache.get_range(KEY, len(data) - 5, 6)


def test_it_stays_within_its_bound_and_keeps_what_was_used(store: Store, tmp_path: Path) -> None:
    cache, far, data = filled(store, tmp_path / "blocks", size=200 * BLOCK)
    for block in range(200):
        cache.get_range(KEY, 3 * BLOCK, 1)
        cache.get_range(KEY, block * BLOCK, BLOCK)
        assert used(tmp_path / "blocks") <= LIMIT
    assert used(tmp_path / "blocks") > LIMIT / 2
    before = len(far.reads)
    assert cache.get_range(KEY, 3 * BLOCK, 9) == data[3 * BLOCK : 3 * BLOCK + 9]
    assert len(far.reads) == before
    cache.get_range(KEY, 8 * BLOCK, 1)
    assert len(far.reads) == before + 1


def test_only_one_sweeps_at_a_time(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one sweeper is removing another must not make up for: the two together would empty the cache."""
    monkeypatch.setattr("deemo_dist.dataset.cache.SWEEP_SECONDS", 0.01)
    cache, _, _ = filled(store, tmp_path / "blocks", size=80 * BLOCK)
    cache.get_range(KEY, 0, BLOCK)
    with (tmp_path / "blocks" / "locks" / "sweep").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        cache.get_range(KEY, 0, 80 * BLOCK)
        assert used(tmp_path / "blocks") == 80 * BLOCK
    cache._sweep()
    assert LIMIT * 3 / 4 < used(tmp_path / "blocks") <= LIMIT


@pytest.mark.parametrize("harm", ["changed", "cut", "emptied"])
def test_a_bad_block_is_fetched_again(made: Any, store: Store, tmp_path: Path, harm: str) -> None:
    made.dataset(store, plan_units(made.clips(8), 6000))
    dataset = open_dataset(store, "demo", "v1")
    examples = build_examples(dataset, {"e": TaskConfig(prompt="Which?", answer="{label.emotion}")}, ["e"], "train")
    far = FarStore(store)
    cache = CachedStore(far, tmp_path / "blocks", limit=LIMIT, block=BLOCK)  # type: ignore[arg-type]
    whole = load_examples(examples, cache, dataset.prefix, frames=1)
    for path in (tmp_path / "blocks").rglob(f"{BLOCK}-*"):
        data = path.read_bytes()
        path.write_bytes({"changed": data[:600] + b"XXXX" + data[604:], "cut": data[:-3000], "emptied": b""}[harm])
    again = load_examples(examples, cache, dataset.prefix, frames=1)
    assert [e.media.frames.tobytes() for e in again] == [e.media.frames.tobytes() for e in whole]  # type: ignore
    damaged = sorted(store.list(f"{dataset.prefix}/shards"))[0]
    data = store.get(damaged)
    store.put(damaged, data[:600] + b"XXXX" + data[604:])
    for path in (tmp_path / "blocks").rglob(f"{BLOCK}-*"):
        path.unlink()
    with pytest.raises(CorruptDataError, match="digest of the index"):
        load_examples(examples, cache, dataset.prefix, frames=1)


def test_a_cache_that_cannot_be_written_is_gone_without(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "blocks").write_text("a file where a folder is needed")
    cache, far, data = filled(store, tmp_path / "blocks")
    assert cache.get_range(KEY, 5, 70_000) == data[5:70_005]
    assert cache.get_range(KEY, 5, 70_000) == data[5:70_005]
    assert len(far.reads) == 2


def test_blocks_that_cannot_be_removed_end_the_writing_and_no_read(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, _, data = filled(store, tmp_path / "blocks", size=80 * BLOCK)
    said: list[str] = []  # what is given to the logger itself: libraries change what stands above it
    monkeypatch.setattr(logger, "handle", lambda record: said.append(record.getMessage()))
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(PermissionError(1, "not permitted")))
    for block in range(80):
        assert cache.get_range(KEY, block * BLOCK, BLOCK) == data[block * BLOCK : (block + 1) * BLOCK]
    assert used(tmp_path / "blocks") <= LIMIT + 2 * BLOCK
    assert ["cannot be written or swept (not permitted)" in line for line in said] == [True]


def test_a_folder_that_is_written_into_while_it_is_swept_stays(store: Store, tmp_path: Path) -> None:
    cache, _, data = filled(store, tmp_path / "blocks", size=80 * BLOCK)
    empty = tmp_path / "blocks" / "b.tar"
    empty.mkdir(parents=True)
    real = Path.rmdir

    def late(path: Path) -> None:
        (path / f"{BLOCK}-000000").write_bytes(b"new")
        real(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "rmdir", late)
        assert cache.get_range(KEY, 0, len(data)) == data
    assert (empty / f"{BLOCK}-000000").exists()
    assert used(tmp_path / "blocks") <= LIMIT


def test_what_goes_while_it_is_swept_is_passed_over_alone(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process renames its temporary file between the listing and the look at it: the other blocks count."""
    cache, *_ = filled(store, tmp_path / "blocks", size=200 * BLOCK)
    real = Path.iterdir

    def with_one_that_goes(folder: Path) -> Iterator[Path]:
        yield folder / ".gone.tmp"
        yield from real(folder)

    monkeypatch.setattr(Path, "iterdir", with_one_that_goes)
    for block in range(200):
        cache.get_range(KEY, block * BLOCK, BLOCK)
        assert used(tmp_path / "blocks") <= LIMIT


def test_a_file_system_without_locks_is_not_waited_for(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", none)
    cache, far, data = filled(store, tmp_path / "blocks", size=80 * BLOCK)
    started = time.monotonic()
    for block in range(80):
        assert cache.get_range(KEY, block * BLOCK, BLOCK) == data[block * BLOCK : (block + 1) * BLOCK]
    assert time.monotonic() - started < 5
    assert len(far.reads) == 80
    assert LIMIT / 2 < used(tmp_path / "blocks") <= LIMIT


def test_what_makes_no_sense_is_refused(store: Store, tmp_path: Path) -> None:
    for limit, block in ((LIMIT, 1000), (BLOCK, BLOCK)):
        with pytest.raises(ConfigError, match="makes no sense"):
            CachedStore(store, tmp_path, limit=limit, block=block)


def test_files_need_no_cache_and_shards_can_be_removed(store: Store, tmp_path: Path) -> None:
    config = StorageConfig(cache=str(tmp_path))
    assert cached(store, config) is store
    remote = open_store(StorageConfig(root="s3://bucket/project"))
    behind = cached(remote, config)
    assert isinstance(behind, CachedStore) and behind.folder == tmp_path / "shards"
    assert cached(remote, StorageConfig(cache=str(tmp_path), cache_mb=0)) is remote
    cache, _, data = filled(store, tmp_path / "shards")
    cache.get_range(KEY, 0, len(data))
    assert remove_shards(config, ["a.tar", "b.tar"]) == 11
    assert remove_shards(config, ["a.tar"]) == 0


@pytest.mark.slow
def test_processes_share_it_though_some_are_killed(store: Store, tmp_path: Path) -> None:
    filled(store, tmp_path / "blocks", size=100 * BLOCK)
    log = tmp_path / "log"
    program = str(Path(__file__).parent / "functions" / "cache_functions.py")
    command = [sys.executable, program, store.root, str(tmp_path / "blocks"), str(log), "12", str(LIMIT)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    lives = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for _ in range(4)]
    sizes, ended = [0], threading.Event()

    def measure() -> None:
        while not ended.wait(0.02):
            with contextlib.suppress(FileNotFoundError):  # a block that was given up between the two looks
                sizes.append(used(tmp_path / "blocks"))

    measuring = threading.Thread(target=measure)
    measuring.start()
    try:
        while not (log.exists() and log.stat().st_size):
            time.sleep(0.01)
        for life in lives[:2]:
            time.sleep(random.uniform(0.05, 0.2))
            life.send_signal(signal.SIGKILL)
        assert [life.wait(60) for life in lives] == [-signal.SIGKILL, -signal.SIGKILL, 0, 0]
    finally:
        ended.set()
        measuring.join()
    assert 0 < max(sizes) <= LIMIT


@pytest.mark.slow
def test_ranks_that_ask_for_the_same_block_fetch_it_once(store: Store, tmp_path: Path) -> None:
    filled(store, tmp_path / "blocks", size=50 * BLOCK)
    log = tmp_path / "log"
    program = str(Path(__file__).parent / "functions" / "cache_functions.py")
    command = [sys.executable, program, store.root, str(tmp_path / "blocks"), str(log), "1", str(LIMIT)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    lives = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [life.wait(60) for life in lives] == [0, 0, 0]
    asked = log.read_text().splitlines()
    assert len(set(asked)) == len(asked) <= 50
