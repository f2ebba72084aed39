"""Shards written by us and by others, on one process and on Ray."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from deemo_dist.config import StorageConfig
from deemo_dist.dataset import Shard, ShardWriter, shard_key
from deemo_dist.storage import open_store
from tests.bench.plane.samples import JSON, PREFIX, SIZES

UNITS, UNIT_SAMPLES, CPUS = 10, 300, 2


def shard_of(samples: Sequence[tuple[str, dict[str, bytes]]], unit: int = 0) -> Shard:
    """One shard, digests of every member and of the tar included."""
    writer = ShardWriter(unit)
    for key, files in samples:
        writer.add(key, files)
    shard = writer.finish()
    assert shard is not None
    return shard


def write_ours(samples: Sequence[tuple[str, dict[str, bytes]]], folder: Path) -> None:
    """One shard by our writer."""
    with (folder / "ours.tar").open("wb", buffering=0) as file:
        shard_of(samples).write(file)


def write_webdataset(samples: Sequence[tuple[str, dict[str, bytes]]], folder: Path) -> None:
    """One shard by webdataset's TarWriter: no digests, no offsets."""
    import webdataset

    with webdataset.TarWriter(str(folder / "theirs.tar"), encoder=False) as writer:
        for key, files in samples:
            writer.write({"__key__": key, **files})


@cache
def noise() -> bytes:
    """Random bytes that samples are cut from, made once a process."""
    return os.urandom(8 * 2**20)


def cut(number: int) -> tuple[str, dict[str, bytes]]:
    """Sample ``number``, the same work for all writers on Ray: they make samples where they write them."""
    start = number * 4099 % (len(noise()) - 2**17)
    files = {name: noise()[start + at : start + at + size] for at, (name, size) in enumerate(SIZES.items())}
    return f"{number:032x}", {**files, "json": JSON}


def unit_of(root: str, unit: int) -> str:
    """A unit's shard into the store, flushed to disk as every commit is."""
    shard = shard_of([cut(unit * UNIT_SAMPLES + number) for number in range(UNIT_SAMPLES)], unit)
    open_store(StorageConfig(root=root)).put(shard_key(PREFIX, shard.tar.name), shard.data)
    return shard.tar.sha256


@contextmanager
def on_ray(folder: Path) -> Iterator[tuple[Callable[[], float], Callable[[], float]]]:
    """Ours and Ray Data's rates on a Ray of two CPUs, both with their workers warm."""
    import ray

    environment = {"env_vars": {"PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"}}
    ray.init(
        num_cpus=CPUS,
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
        runtime_env=environment,
        object_store_memory=2**30,
    )
    try:
        quiet_ray_data()
        writers = [ray.remote(_Writer).remote(f"file://{folder / 'ours'}") for _ in range(CPUS)]

        ray.get([writer.warm.remote() for writer in writers])

        def work() -> None:
            left = list(range(UNITS))
            busy = {writer.write.remote(left.pop()): writer for writer in writers}
            while busy:
                (done,), _ = ray.wait(list(busy))
                writer = busy.pop(done)
                if left:
                    busy[writer.write.remote(left.pop())] = writer

        yield lambda: _rate(work), lambda: _rate(lambda: write_ray_data(folder / "theirs"))
    finally:
        ray.shutdown()


class _Writer:
    """An actor of one CPU."""

    def __init__(self, root: str) -> None:
        self.root = root

    def warm(self) -> int:
        """Have everything imported."""
        return len(noise())

    def write(self, unit: int) -> str:
        """One unit."""
        return unit_of(self.root, unit)


def write_ray_data(folder: Path) -> None:
    """The same samples by Ray Data."""
    import ray

    numbers = ray.data.range(UNITS * UNIT_SAMPLES, override_num_blocks=UNITS)
    numbers.map(_row).write_webdataset(str(folder), encoder=_as_is)


def _row(row: dict[str, Any]) -> dict[str, Any]:
    key, files = cut(int(row["id"]))
    return {"__key__": key, **files}


def _as_is(sample: dict[str, Any]) -> dict[str, Any]:
    """The members are bytes already."""
    return sample


def quiet_ray_data() -> None:
    """No progress bars in the table."""
    import ray

    with contextlib.suppress(AttributeError):
        ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _rate(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return UNITS * UNIT_SAMPLES / (time.perf_counter() - started)
