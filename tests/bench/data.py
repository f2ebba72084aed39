"""The data plane beside its peers: writing shards, reading them, resuming, and packing."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import numpy as np

from deemo_dist.config import StorageConfig
from deemo_dist.dataset import sample_files
from deemo_dist.dataset.packing import pack
from deemo_dist.records import Example
from deemo_dist.storage import Store, open_store
from tests.bench import peers
from tests.bench.harness import Work
from tests.bench.plane.packs import (
    ANCHORS,
    BUDGET,
    DISTRIBUTIONS,
    MICRO,
    RANKS,
    TOKENS,
    WINDOW,
    best_fit_fill,
    draw_costs,
    evenness,
    fill,
)
from tests.bench.plane.reading import packs_of, stream, timed
from tests.bench.plane.resuming import bucket_of, resumes
from tests.bench.plane.samples import make_dataset, make_samples, plan_of
from tests.bench.plane.writing import on_ray, sample_of, write_ours, write_shard, write_webdataset

SAMPLES, SHARDS, SHARD_SAMPLES = 400, 8, 200
WARM, COUNT = 400, 1600
RESUME_SECONDS = 0.05
READERS = (("webdataset", 0, 1.2), ("webdataset", 2, 1.1), ("energon", 0, 2.0), ("streaming", 0, 0.9))


def rate(work: Callable[[], object], number: int, *, room: Path | None = None) -> float:
    """``number`` divided by the seconds that ``work`` takes; what is in the folder ``room`` is removed before."""
    if room is not None:
        shutil.rmtree(room, ignore_errors=True)
    started = time.perf_counter()
    work()
    return number / (time.perf_counter() - started)


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
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        yield [
            *writing(folder, stack),
            writing_on_ray(folder / "ray", stack),
            *reading(folder / "read", stack),
            *resuming(folder / "plan"),
            *packing(),
        ]


def writing(folder: Path, stack: ExitStack) -> Iterator[Work]:
    """One process, one unit: in memory, where the writers are the bound, and on the disk. What either one wrote before
    is removed before the clock starts, so that both write where there is room again: pages that a machine hands out for
    the first time take several times as long."""
    samples = [sample_of(*each) for each in make_samples(SAMPLES)]
    encoded = [(sample.key, sample_files(sample)) for sample in samples]
    memory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
    ways: dict[str, Callable[[Store, int], object]] = {
        "write a shard": lambda store, unit: write_shard(encoded, store, unit),
        "commit a unit and its receipt": lambda store, unit: write_ours(samples, store, unit),
    }
    for place, where in (("memory", memory), ("disk", folder)):
        store, units = open_store(StorageConfig(root=f"file://{where}/ours")), count()
        for what, way in ways.items():
            yield Work(
                work=f"{what}, {place}, fsync on both",
                peer="webdataset TarWriter",
                unit="samples/s",
                goal=2.0,
                ours=lambda way=way, store=store, units=units, where=where: rate(  # type: ignore[misc]
                    lambda: way(store, next(units)), SAMPLES, room=where / "ours"
                ),
                theirs=lambda where=where: rate(  # type: ignore[misc]
                    lambda: write_webdataset(encoded, where / "theirs"), SAMPLES, room=where / "theirs"
                ),
            )


def writing_on_ray(folder: Path, stack: ExitStack) -> Work:
    """Ray is started at the first round, and ends with the bench."""
    started: list[tuple[Callable[[], float], Callable[[], float]]] = []

    def side(number: int) -> float:
        if not started:
            started.append(stack.enter_context(on_ray(folder)))
        return started[0][number]()

    return Work(
        work="commit units and receipts, Ray, 2 CPUs, fsync on both",
        peer="Ray Data write_webdataset",
        unit="samples/s",
        goal=1.5,
        ours=lambda: side(0),
        theirs=lambda: side(1),
    )


def reading(folder: Path, stack: ExitStack) -> Iterator[Work]:
    """Shuffled samples as raw bytes; ours checks every member's digest."""
    store, examples = make_dataset(folder / "store", SHARDS, SHARD_SAMPLES)
    plan = plan_of(examples, 3)
    script = Path(__file__).parent / "plane" / "peer_readers.py"

    def ours(workers: int) -> float:
        with ExitStack() as closing:
            batches = stream(store, packs_of(examples, plan), workers)
            closing.callback(batches.close)  # type: ignore[attr-defined]
            return timed(batches, WARM, COUNT)

    for peer, workers, goal in READERS:
        ask = stack.enter_context(peers.asked([peers.python(), script, folder, peer, str(workers)]))
        yield Work(
            work=f"read shuffled, {workers} workers",
            peer=peer,
            unit="samples/s",
            goal=goal,
            ours=lambda workers=workers: ours(workers),  # type: ignore[misc]
            theirs=ask,
        )
    caches = count()
    started: list[Callable[[list[Example], Path | None], float]] = []

    def asked(cache: Path | None) -> float:
        if not started:
            started.append(stack.enter_context(bucket_of(store)))
        return started[0](examples, cache)

    yield Work(
        work="read a bucket (SeaweedFS, by a counting proxy) through the node's cache",
        peer="without it (reads coalesced)",
        unit="samples/request",
        goal=2.0,
        ours=lambda: asked(folder / f"cache-{next(caches)}"),
        theirs=lambda: asked(None),
    )


def resuming(folder: Path) -> Iterator[Work]:
    """From an opened plan of 100,000 examples to the reads of one step."""
    resume = resumes(folder)
    for position, peer, goal, other in (
        (0.8, "the bound of 50 ms", 1.0, lambda: 1 / RESUME_SECONDS),
        (0.9, "resume at 10 %", 0.8, lambda: resume(0.1)),
    ):
        yield Work(
            work=f"resume at {position:.0%} of an epoch",
            peer=peer,
            unit="resumes/s",
            goal=goal,
            ours=lambda position=position: resume(position),  # type: ignore[misc]
            theirs=other,
        )


def packing() -> Iterator[Work]:
    """Lengths to packs: how fast, how full, and how even over the ranks."""
    costs = draw_costs(100_000)
    yield Work(
        work="pack 100,000 lengths",
        peer="best-fit list, windows of 1,000",
        unit="lengths/s",
        goal=1.0,
        ours=lambda: rate(lambda: pack(costs, BUDGET), len(costs)),
        theirs=lambda: rate(lambda: best_fit_windows(costs[:, 0]), len(costs)),
    )
    for work, peer, ours, bound in (
        ("pack 100,000 lengths", "the bound of 500,000", lambda: rate(lambda: pack(costs, BUDGET), len(costs)), 5e5),
        (f"tokens in use, windows of {WINDOW:,}", "the bound of 99.9 %", lambda: fill(ANCHORS), 0.999),
        (f"mean over max work, {RANKS} ranks, {MICRO} micro-steps", "the bound of 1 / 1.02", evenness, 1 / 1.02),
    ):
        yield Work(work=work, peer=peer, unit="", goal=1.0, ours=ours, theirs=lambda bound=bound: bound)  # type: ignore[misc]
    for name in DISTRIBUTIONS:
        yield Work(
            work=f"tokens in use, {name}",
            peer="best-fit decreasing, not mixed",
            unit="",
            goal=0.999,
            ours=lambda name=name: fill(name),  # type: ignore[misc]
            theirs=lambda name=name: best_fit_fill(name),  # type: ignore[misc]
        )
