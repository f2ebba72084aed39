"""The same dataset in a bucket (an S3 server in memory)."""

from collections.abc import Iterator
from typing import Any

import pytest

from deemo_dist.config import StorageConfig
from deemo_dist.dataset import load_example, open_dataset, plan_units, read_manifest, verify, write_manifest
from deemo_dist.dataset.instructions import build_examples
from deemo_dist.storage import Store, open_store

pytestmark = pytest.mark.slow


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[StorageConfig]:
    import boto3
    from moto.server import ThreadedMotoServer

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host.replace('0.0.0.0', '127.0.0.1')}:{port}"
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="deemo")
    yield StorageConfig(root="s3://deemo/project", endpoint=endpoint)
    server.stop()


def test_a_dataset_in_a_bucket_equals_the_one_in_files(made: Any, bucket: StorageConfig, store: Store) -> None:
    from deemo_dist.config import TaskConfig

    clips = made.clips(7)
    remote = open_store(bucket)
    key, _ = write_manifest(clips, remote)
    assert read_manifest(remote.uri(key), bucket) == clips
    units = plan_units(clips, 3000)
    infos = [made.dataset(place, units, {clips[3].uri}) for place in (remote, store, remote)]
    assert infos[0] == infos[2]
    assert infos[0].dataset_digest == infos[1].dataset_digest
    assert verify(remote, "demo", "v1", deep=True) == []
    dataset = open_dataset(remote, "demo", "v1")
    task = TaskConfig(prompt="Which?", answer="{label.emotion}")
    example = build_examples(dataset, {"emotion": task}, ["emotion"], "train")[0]
    media = load_example(example, remote, dataset.prefix, frames=2).media
    assert media.frames is not None
    assert media.frames.shape == (2, 48, 64, 3)
