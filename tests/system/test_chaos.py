"""Preprocessing that is interrupted at random comes to the same dataset as undisturbed, and leaves nothing behind.

``DEEMO_CHAOS_ROUNDS`` (2) rounds of faults at random moments, drawn from ``DEEMO_CHAOS_SEED`` (printed): kill -9 of a
worker, a raylet, the driver, a decoder; a worker that stands still; a store that is frozen, killed and started again,
that answers 503, or whose answers are lost.
"""

import json
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cluster.local.ray import LocalRay
from cluster.local.s3 import LocalS3
from cluster.local.slurm import LocalSlurm
from deemo_dist.config import RunConfig, load
from deemo_dist.dataset import open_dataset, read_receipt, verify
from deemo_dist.dataset.lifecycle.gc import garbage
from deemo_dist.storage import open_store
from pipelines import private
from tests.proxies.s3 import FaultProxy
from tests.system.chaos import FAULTS, Chaos, Moment

pytestmark = pytest.mark.system

ROUNDS = int(os.environ.get("DEEMO_CHAOS_ROUNDS", "2"))
SEED = int(os.environ.get("DEEMO_CHAOS_SEED", random.SystemRandom().randrange(10**6)))
CLIPS, FAULTS_A_ROUND, ROUND_TRIES = 6, 4, 4
BAD = "not-a-film.mp4"
QUICK_RAY = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
}
RUN = """
bases: [policies/standard]
name: chaos
keys: {source: demo}
data: {name: chaos, shard_bytes: 1, failure_budget: 0.5, allow_weak_policy: true}
policy: {transcript: drop, asr: never, mute: false, captions: keep, voice: drop, mask_heads: false}
execution: {executor: local, workers: 2}
storage: {timeout_seconds: 3, requests_per_second: 200}
"""


@dataclass(frozen=True)
class Place:
    """A store behind a proxy, the run's file, and what came of it undisturbed in how many seconds."""

    server: LocalS3
    proxy: FaultProxy
    run: Path
    manifest: str
    digest: str
    seconds: float

    def config(self, version: str) -> RunConfig:
        return load(self.run, [f"data.version={version}", f"storage.endpoint={self.server.endpoint}"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A dataset made undisturbed, of clips in a bucket one of which is no film."""
    folder = tmp_path_factory.mktemp("chaos")
    with (
        LocalS3(folder / "s3", bucket="chaos") as server,
        FaultProxy(server.endpoint) as proxy,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in server.environment().items():
            patch.setenv(name, value)
        run = folder / "chaos.yaml"
        run.write_text(RUN.replace("storage: {", f"storage: {{root: s3://chaos/project, cache: {folder / 'cache'}, "))
        source = upload(server, folder)
        manifest = ingest(server, run, source)
        calm = job(server, proxy, run, manifest, folder, "calm", None, random.Random(0))
        seconds = calm.run([])
        place = Place(server, proxy, run, manifest, "", seconds)
        digest = open_dataset(open_store(place.config("calm").storage), "chaos", "calm", allow_weak=True).digest
        yield Place(server, proxy, run, manifest, digest, seconds)


@pytest.fixture(scope="module")
def ray() -> Iterator[LocalRay]:
    with LocalRay(cpus=1, env=QUICK_RAY) as ray:
        yield ray


def upload(server: LocalS3, folder: Path) -> Path:
    """Clips and a file that is none in the bucket; the JSONL that lists them."""
    from deemo_dist.samples import generate_clips

    generate_clips(folder / "raw", subjects=CLIPS // 2, clips_per_subject=2, seed=5, workers=2)
    rows = [json.loads(line) for line in (folder / "raw" / "manifest.jsonl").read_text().splitlines()]
    (folder / "raw" / BAD).write_bytes(b"not a film\n")
    rows.append({"uri": BAD, "subject": "Nora Nobody", "split": "train", "source": "rubbish", "size_bytes": 11})
    client = server.client()
    for row in rows:
        name = Path(row["uri"]).name
        client.upload_file(str(folder / "raw" / name), "chaos", f"raw/{name}")
        row.update(uri=f"s3://chaos/raw/{name}", transcript=None, texts={})
    source = folder / "clips.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return source


def ingest(server: LocalS3, run: Path, source: Path) -> str:
    from pipelines.ingest import ingest_source

    return ingest_source(str(source), load(run, [f"storage.endpoint={server.endpoint}"]))[0]


def job(
    server: LocalS3,
    proxy: FaultProxy,
    run: Path,
    manifest: str,
    folder: Path,
    version: str,
    ray: LocalRay | None,
    rng: random.Random,
    *extra: str,
) -> Chaos:
    """Preprocessing into ``version`` through the proxy."""
    on_ray = ("execution.executor=ray", f"execution.address={ray.address}") if ray else ()
    more = (f"data.version={version}", f"data.manifest={manifest}", f"storage.endpoint={proxy.endpoint}")
    return Chaos(
        command=("-m", "pipelines.cli", "preprocess", "-c", str(run), *more, *on_ray, *extra),
        env={**server.environment(), "OMP_NUM_THREADS": "1", **(ray.env if ray else {})},
        output=folder / f"{version}.log",
        server=server,
        proxy=proxy,
        ray=ray,
        rng=rng,
        done=partial(committed, server.client(), version),
    )


def committed(client: Any, version: str) -> float:
    """The share of a version's units that have a receipt, by the server itself."""
    listed = client.list_objects_v2(Bucket="chaos", Prefix=f"project/datasets/chaos/{version}/receipts/")
    return int(listed["KeyCount"]) / (CLIPS + 1)


@pytest.mark.parametrize("number", range(ROUNDS))
def test_interrupted_at_random_it_is_the_same_dataset(
    place: Place, request: pytest.FixtureRequest, tmp_path: Path, number: int
) -> None:
    """A round in which a fault came when the job was done shows nothing of it: it is made again, with earlier ones."""
    rng = random.Random(SEED * 1000 + number)
    ray: LocalRay | None = request.getfixturevalue("ray") if number % 2 == 0 else None
    first = ["raylet"] if ray else ["hang"]
    names = first + rng.sample([name for name in FAULTS if name not in first], FAULTS_A_ROUND - 1)
    hurry = f"execution.unit_seconds={max(5.0, place.seconds):.0f}"  # what all took undisturbed is enough for a unit
    for again in range(ROUND_TRIES):
        early = 0.5**again
        plan = [(Moment(rng.uniform(-0.3, 0.8 * early), rng.uniform(0.0, 4.0 * early)), name) for name in names]
        print(f"seed {SEED}, round {number}.{again}, {'Ray' if ray else 'processes'}; {place.seconds:.1f} s; {plan}")
        version = f"round-{number}-{again}"
        chaos = job(place.server, place.proxy, place.run, place.manifest, tmp_path, version, ray, rng, hurry)
        seconds = chaos.run(plan)
        print(f"{seconds:.1f} s in {chaos.lives} lives; requests so far {dict(place.proxy.counts)}\n{chaos.story()}")
        assert_same(place, version)
        if not chaos.late:
            break
    assert sorted(chaos.struck) == sorted(names) and not chaos.late, chaos.story()


def test_a_slurm_array_whose_task_and_driver_die(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dead task is sent again; the driver that comes back finds the tasks of the one before."""
    with LocalSlurm(cpus=2) as slurm:
        for name, value in slurm.env.items():
            monkeypatch.setenv(name, value)
        where = (f"launch.logs={tmp_path}", "launch.minutes=10", "launch.tasks=2", "execution.workers=1")
        rng = random.Random(SEED)
        extra = ("execution.executor=slurm", *where)
        chaos = job(place.server, place.proxy, place.run, place.manifest, tmp_path, "slurm", None, rng, *extra)
        chaos.run([(Moment(0.1, 0.0), "task"), (Moment(0.4, 0.0), "driver")])
    sent = sorted(path.name for path in tmp_path.glob("deemo-preprocess-chaos-slurm-*_*.out"))
    print(f"{sent}\n{chaos.story()}")
    assert chaos.struck == ["task", "driver"] and chaos.lives == 2
    assert len(sent) == 3
    told = [*tmp_path.glob("chaos-slurm-*.yaml"), *tmp_path.parent.glob(f"{tmp_path.name}.private/*")]
    assert not told, "what the tasks were told says where raw clips are"
    assert_same(place, "slurm")


def assert_same(place: Place, version: str) -> None:
    """The digest, every clip once, only the bad one rejected, nothing in the store that nothing refers to."""
    config = place.config(version)
    store = open_store(config.storage)
    dataset = open_dataset(store, "chaos", version, allow_weak=True)
    assert dataset.digest == place.digest
    assert verify(store, "chaos", version, deep=True, allow_weak=True) == []
    keys = [row.key for row in dataset.ledger]
    assert len(keys) == len(set(keys)) == CLIPS + 1
    assert [row.reason for row in dataset.ledger if row.status == "rejected"] == ["not_media"]
    prefix = f"datasets/chaos/{version}"
    receipts = [read_receipt(store, prefix, unit) for unit in range(CLIPS + 1)]
    expected = {f"{prefix}/receipts/{unit:05d}.json" for unit in range(CLIPS + 1)}
    expected |= {f"{prefix}/shards/{receipt.tar.name}" for receipt in receipts if receipt.tar}
    expected |= {f"{prefix}/{name}" for name in ("header.json", "dataset.json")}
    expected |= {f"{prefix}/{table}/00000.parquet" for table in ("index", "ledger")}
    assert set(store.list(prefix)) == expected
    assert garbage(store, older_than=-60.0) == []
    uploads = place.server.client().list_multipart_uploads(Bucket="chaos").get("Uploads", [])
    assert uploads == []


def test_what_the_killed_left_of_raw_clips_is_swept(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node dies with raw clips fetched: they are left in memory, until a later worker removes them."""
    base = Path(private.MEMORY)
    before = set(base.glob("deemo-raw-*"))

    def left() -> list[Path]:
        """The job's private folders that hold a clip by now."""
        return [folder for folder in set(base.glob("deemo-raw-*")) - before if any(folder.glob("*"))]

    for again in range(ROUND_TRIES):
        rng = random.Random(SEED)
        chaos = job(place.server, place.proxy, place.run, place.manifest, tmp_path, f"dead-{again}", None, rng)
        chaos.die_at_work(left)
        if left():  # else a worker came to its clip's end just then
            break
    found = left()
    assert found, chaos.story()
    monkeypatch.setattr(private, "YOUNG_SECONDS", 0.0)
    for folder in found:
        monkeypatch.setattr(private, "PREFIX", folder.name)  # no other job's on this machine
        wait_until(lambda folder=folder: private.sweep(base) == 1 or not folder.exists())  # type: ignore[misc]
        assert not folder.exists()


def wait_until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.05)
