"""An erasure on a real S3 server with object versions, with this machine's shard cache and an MLflow beside it."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.local.s3 import LocalS3
from deemo_dist.config import RunConfig, StorageConfig, TrackingConfig
from deemo_dist.dataset import cached, load_member, open_dataset, verify, write_manifest
from deemo_dist.dataset.lifecycle.scan import Sought, scan
from deemo_dist.deid import KeyRing
from deemo_dist.errors import DatasetError, TrackingError
from deemo_dist.storage import open_store
from deemo_dist.tracking.connection import client, connection
from pipelines.erasure.erase import run_erase
from pipelines.lifecycle import listing, run_gc
from pipelines.tracked import tracking_folder
from tests.made import PEOPLE, clips_of, config_of, make

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[LocalS3]:
    with LocalS3() as started:
        kept = {"Status": "Enabled"}
        started.client().put_bucket_versioning(Bucket=started.bucket, VersioningConfiguration=kept)
        yield started


@pytest.fixture
def config(server: LocalS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    monkeypatch.setenv("DEEMO_ROOT_KEY", os.urandom(32).hex())
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    storage = StorageConfig(root=f"{server.root}/project", cache=str(tmp_path / "cache"), timeout_seconds=20.0)
    return replace(config_of(tmp_path), storage=storage, tracking=TrackingConfig(experiment="erased"))


def test_older_versions_cache_and_pictures_go_too(config: RunConfig, tmp_path: Path) -> None:
    store, clips = open_store(config.storage), clips_of()
    write_manifest(clips, store)
    make(config, clips, rejected=(3,))
    make(config, clips, rejected=(3,))  # every object a second time: older versions of it are kept
    old, ring = open_dataset(store, "demo", "v1"), KeyRing.open(config.keys, dataset="demo")
    mine = [ring.sample_key(clip.uri) for clip in clips if clip.subject == PEOPLE[0]]
    sought = Sought.of([ring.subject_key(PEOPLE[0]), *mine])
    store.put("runs/run/evaluation-1/predictions.json", mine[0].encode())
    store.delete("runs/run/evaluation-1/predictions.json")  # hidden by a marker, and still there
    store.put("runs/run/spool/files/1/report.html", f"sample {mine[0]}".encode())  # it waits for MLflow
    for row in old.index:
        load_member(row, cached(store, config.storage), old.prefix, "mp4")  # type: ignore[arg-type]
    blocks = {path.parent.name for path in (tmp_path / "cache/shards").rglob("*-000000")}
    assert blocks == {row.shard for row in old.index}
    mlflow = client(connection(config.tracking, tracking_folder(config)))
    run = mlflow.create_run(mlflow.create_experiment("erased")).info.run_id
    mlflow.log_text(run, f"<figcaption>sample {mine[0][:8]}</figcaption>", "report/report.html")
    mlflow.log_text(run, "nobody", "report/other.html")
    assert len({stored.version for stored in scan(store, sought).found}) > 10

    with pytest.raises(TrackingError, match="no MLflow server answers"):
        away = replace(config.tracking, uri="http://127.0.0.1:9")
        run_erase(replace(config, tracking=away), subject=PEOPLE[0], subject_key=None, manifest=None)
    with pytest.raises(DatasetError, match="tombstoned"):
        open_dataset(store, "demo", "v1")
    _, receipt = run_erase(config, subject=PEOPLE[0], subject_key=None, manifest=None)

    assert receipt.mlflow_removed == 1
    assert [item.path for item in mlflow.list_artifacts(run, "report")] == ["report/other.html"]
    assert not scan(store, sought).found and receipt.proof["found"] == 0 and store.list("runs/run/spool") == []
    assert {stored.key for stored in store.history("datasets/demo/v1")} == {"datasets/demo/v1/tombstone.json"}
    assert len(store.list("manifests")) == 1 and all(stored.current for stored in store.history("manifests"))
    assert verify(store, "demo", "v1-e1", deep=True) == []
    left = {path.parent.name for path in (tmp_path / "cache/shards").rglob("*-000000")}
    assert left < blocks and left <= {row.shard for row in open_dataset(store, "demo", "v1-e1").index}
    assert "demo/v1-e1  committed" in listing(config) and "now demo/v1-e1" in listing(config)
    assert run_gc(config, delete=True, older_than="1h", cache=False).startswith("nothing to remove")
    assert "nothing to remove" in run_gc(config, delete=True, older_than="1h", cache=True)
