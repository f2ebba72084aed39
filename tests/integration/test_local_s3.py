"""The S3 server that tests, demo and benches start leaves nothing behind where everybody's files are."""

from pathlib import Path

import pytest

from cluster.local.s3 import LocalS3

pytestmark = pytest.mark.slow


def test_a_server_that_was_stopped_leaves_nothing_outside_its_folder(tmp_path: Path) -> None:
    with LocalS3(tmp_path) as server:
        server.client().put_object(Bucket=server.bucket, Key="a", Body=b"1")
        server.kill()
        server.start()
        assert server.client().get_object(Bucket=server.bucket, Key="a")["Body"].read() == b"1"
        own = {str(port) for port in server._ports.values()}
        assert any(name.rpartition("-")[2].removesuffix(".sock") in own for name in sockets())
        assert any((tmp_path / "logs").iterdir())
    assert not any(name.rpartition("-")[2].removesuffix(".sock") in own for name in sockets())


def sockets() -> list[str]:
    return [path.name for path in Path("/tmp").glob("seaweedfs-*.sock")]
