"""Shards written by us and by others, on one process and on Ray, flushed to disk by all of them.

A shard: of members that are encoded; ours with every member's place and digest, and the tar's. A unit is what
preprocessing does with samples that are encoded: each one's JSON and cues, the shard, index, ledger, annotations, and
the receipt committed in the store.
"""

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from deemo_dist.config import StorageConfig
from deemo_dist.dataset import Sample, ShardWriter, UnitBuilder, commit_unit, shard_key
from deemo_dist.records import Annotation
from deemo_dist.storage import Store, open_store
from tests.bench.plane.samples import ATTESTATION, JSON, PREFIX, SIZES

UNITS, UNIT_SAMPLES, CPUS = 10, 300, 2
Encoded = tuple[str, dict[str, bytes]]


def sample_of(key: str, files: Mapping[str, bytes]) -> Sample:
    """A sample of the media in ``files``."""
    cues = np.frombuffer(files["cues.npy"], "<f2")
    return Sample(
        key=key,
        video=files["mp4"],
        frames=8,
        fps=8.0,
        width=64,
        height=64,
        subject_key="0" * 32,
        source="bench",
        split="train",
        attestation=ATTESTATION,
        audio=files["flac"],
        audio_seconds=1.0,
        cues=cues[: len(cues) // 63 * 63].reshape(-1, 21, 3),
        transcript="x" * 300,
    )


def write_shard(samples: Sequence[Encoded], store: Store, unit: int) -> None:
    """Write the shard of a unit."""
    writer = ShardWriter(unit)
    for key, files in samples:
        writer.add(key, files)
    shard = writer.finish()
    assert shard is not None
    store.put_chunks(shard_key(PREFIX, shard.tar.name), shard.chunks)


def write_ours(samples: Sequence[Sample], store: Store, unit: int) -> str:
    """Commit a unit in the store; the shard's digest."""
    builder = UnitBuilder(unit, len(samples), policy_digest="", toolchain_digest="")
    for sample in samples:
        said = Annotation(key=sample.key, labels={}, texts={}, nfbl=(), transcript=sample.transcript)
        builder.written(sample, said)
    receipt = commit_unit(store, PREFIX, *builder.finish())
    assert receipt.tar is not None
    return receipt.tar.digest


def write_webdataset(samples: Sequence[Encoded], folder: Path) -> None:
    """One shard by webdataset's TarWriter: no digests, no offsets, no receipt; its members come encoded."""
    import webdataset

    folder.mkdir(exist_ok=True)
    with webdataset.TarWriter(str(folder / "theirs.tar"), encoder=False) as writer:
        for key, files in samples:
            writer.write({"__key__": key, **files})
    flush(folder)


def flush(folder: Path) -> None:
    """To disk with the tars in a folder, and their names."""
    for path in (*folder.rglob("*.tar"), folder):
        number = os.open(path, os.O_RDONLY)
        os.fsync(number)
        os.close(number)


@cache
def noise() -> bytes:
    """Random bytes that samples are cut from, made once a process."""
    return os.urandom(8 * 2**20)


def cut(number: int) -> tuple[str, dict[str, bytes]]:
    """Sample ``number``, the same work for all writers on Ray: they make samples where they write them."""
    start = number * 4099 % (len(noise()) - 2**17)
    files = {name: noise()[start + at : start + at + size] for at, (name, size) in enumerate(SIZES.items())}
    return f"{number:032x}", {**files, "json": JSON}


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

        numbers = count()

        def work() -> None:
            left = [next(numbers) for _ in range(UNITS)]
            busy = {writer.write.remote(left.pop()): writer for writer in writers}
            while busy:
                (done,), _ = ray.wait(list(busy))
                writer = busy.pop(done)
                if left:
                    busy[writer.write.remote(left.pop())] = writer

        def theirs() -> float:
            shutil.rmtree(folder / "theirs", ignore_errors=True)
            return _rate(lambda: write_ray_data(folder / "theirs"))

        yield lambda: _rate(work), theirs
    finally:
        ray.shutdown()


class _Writer:
    """An actor of one CPU."""

    def __init__(self, root: str) -> None:
        self.store = open_store(StorageConfig(root=root))

    def warm(self) -> int:
        """Have everything imported."""
        return len(noise())

    def write(self, unit: int) -> str:
        """One unit."""
        first = unit % UNITS * UNIT_SAMPLES
        return write_ours([sample_of(*cut(first + number)) for number in range(UNIT_SAMPLES)], self.store, unit)


def write_ray_data(folder: Path) -> None:
    """The same samples by Ray Data."""
    import ray

    numbers = ray.data.range(UNITS * UNIT_SAMPLES, override_num_blocks=UNITS)
    numbers.map(_row).write_webdataset(str(folder), encoder=_as_is)
    flush(folder)


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
