"""The data plane beside its peers: writing shards, and packing."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import webdataset

from deemo_dist.dataset.packing import Budget, pack
from deemo_dist.dataset.shards import ShardWriter
from tests.bench.harness import Work

SAMPLES = 400
TOKENS = 4096
BUDGET = Budget(tokens=TOKENS, frames=512, audio_seconds=600.0)
SIZES = {"mp4": 64 * 1024, "flac": 32 * 1024, "cues.npy": 8 * 1024, "json": 600}


def make_samples() -> list[tuple[str, dict[str, bytes]]]:
    """Samples of the usual sizes: incompressible media, small JSON."""
    return [(f"{number:032x}", {ext: os.urandom(size) for ext, size in SIZES.items()}) for number in range(SAMPLES)]


def rate(work: Callable[[], object], count: int) -> float:
    """``count`` divided by the seconds that ``work`` takes."""
    started = time.perf_counter()
    work()
    return count / (time.perf_counter() - started)


def write_ours(samples: Sequence[tuple[str, dict[str, bytes]]], folder: Path) -> None:
    """One shard by our writer, digests of every member and of the tar included."""
    writer = ShardWriter(0)
    for key, files in samples:
        writer.add(key, files)
    shard = writer.finish()
    assert shard is not None
    with (folder / "ours.tar").open("wb", buffering=0) as file:
        shard.write(file)


def write_theirs(samples: Sequence[tuple[str, dict[str, bytes]]], folder: Path) -> None:
    """One shard by webdataset's TarWriter: no digests, no offsets."""
    with webdataset.TarWriter(str(folder / "theirs.tar"), encoder=False) as writer:
        for key, files in samples:
            writer.write({"__key__": key, **files})


def best_fit_windows(lengths: np.ndarray, window: int = 1000) -> None:
    """Packing as finetuning libraries do it: best-fit decreasing over windows of 1,000 by a list of open packs."""
    for start in range(0, len(lengths), window):
        rooms: list[int] = []
        for length in sorted(lengths[start : start + window].tolist(), reverse=True):
            fitting = [number for number, room in enumerate(rooms) if room >= length]
            if fitting:
                rooms[min(fitting, key=rooms.__getitem__)] -= length
            else:
                rooms.append(TOKENS - length)


@contextmanager
def works() -> Iterator[list[Work]]:
    """The comparisons of this bench."""
    samples = make_samples()
    draw = np.random.default_rng(0)
    lengths = draw.integers(60, 1200, 100_000)
    costs = np.stack([lengths, draw.integers(0, 17, len(lengths)), draw.integers(0, 30_000, len(lengths))], axis=1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield [
            Work(
                work="write a shard",
                peer="webdataset TarWriter",
                unit="samples/s",
                goal=2.0,
                ours=lambda: rate(lambda: write_ours(samples, folder), SAMPLES),
                theirs=lambda: rate(lambda: write_theirs(samples, folder), SAMPLES),
            ),
            Work(
                work="pack 100,000 lengths",
                peer="best-fit list, windows of 1,000",
                unit="lengths/s",
                goal=1.0,
                ours=lambda: rate(lambda: pack(costs, BUDGET), len(lengths)),
                theirs=lambda: rate(lambda: best_fit_windows(lengths), len(lengths)),
            ),
        ]
