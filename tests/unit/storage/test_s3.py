"""A real S3 server (SeaweedFS): the same contract as files, races, wrong credentials, freezes and crashes."""

import dataclasses
import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import product
from pathlib import Path

import pytest

from cluster.local.s3 import LocalS3
from deemo_dist.config import StorageConfig
from deemo_dist.errors import AlreadyExistsError, CorruptDataError, NotFoundError, StorageError
from deemo_dist.storage import Store, fetch_uri, open_store, read_uri

pytestmark = pytest.mark.slow


def test_objects_come_back_and_are_listed(s3_store: Store) -> None:
    for key in ("b/2", "b/1", "a", "b/c/3", "bb/4", "ü ß/#?%41"):
        s3_store.put(key, key.encode())
    assert s3_store.get("ü ß/#?%41") == "ü ß/#?%41".encode()
    assert s3_store.list("") == ["a", "b/1", "b/2", "b/c/3", "bb/4", "ü ß/#?%41"]
    assert s3_store.list("b") == s3_store.list("b/") == ["b/1", "b/2", "b/c/3"]
    assert s3_store.list("nothing/here") == []
    assert s3_store.size("b/1") == 3 and s3_store.exists("a") and not s3_store.exists("b")
    s3_store.delete("a")
    s3_store.delete("a")
    assert not s3_store.exists("a")
    with pytest.raises(NotFoundError):
        s3_store.get("a")


def test_an_empty_object(s3_store: Store) -> None:
    s3_store.put("empty", b"")
    assert s3_store.get("empty") == b"" and s3_store.size("empty") == 0 and s3_store.list("") == ["empty"]


def test_pieces_are_sent_as_one_object_and_it_is_told_as_it_is(s3_store: Store) -> None:
    pieces = [os.urandom(number % 5000) for number in range(1500)]
    s3_store.put_chunks("deep/k", pieces)
    assert s3_store.get("deep/k") == b"".join(pieces)
    (listed,) = s3_store.entries("deep")
    told = s3_store.stat("deep/k")
    assert (told.key, told.size) == (listed.key, listed.size) and abs(told.modified - listed.modified) < 1.0
    s3_store.put_chunks("empty", [])
    assert s3_store.get("empty") == b""
    with pytest.raises(NotFoundError):
        s3_store.stat("none")


def test_more_keys_than_a_page(s3_store: Store) -> None:
    keys = [f"many/{number:04d}" for number in range(1100)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda key: s3_store.put(key, b"x"), keys))
    assert s3_store.list("many") == keys


def test_ranges_are_exact(s3_store: Store) -> None:
    data = os.urandom(5_000_000)
    s3_store.put("k", data)
    assert s3_store.get_range("k", 4_000_001, 12_345) == data[4_000_001:4_012_346]
    assert s3_store.get_range("k", 7, 0) == b""
    for start, length in ((len(data) - 2, 3), (len(data) + 5, 1)):
        with pytest.raises(CorruptDataError, match="ends early"):
            s3_store.get_range("k", start, length)


def test_upload_download_and_uris(s3_store: Store, s3_config: StorageConfig, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(20_000_000))
    s3_store.upload(source, "big.bin")
    s3_store.download("big.bin", tmp_path / "new" / "copy")
    assert (tmp_path / "new" / "copy").read_bytes() == source.read_bytes()
    assert read_uri(s3_store.uri("big.bin"), s3_config) == source.read_bytes()
    fetch_uri(s3_store.uri("big.bin"), s3_config, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == source.read_bytes()
    assert s3_store.local_path("big.bin") is None


def test_a_pickled_store_opens_anew_and_holds_no_secret(s3_store: Store, s3_server: LocalS3) -> None:
    s3_store.put("k", b"data")
    frozen = pickle.dumps(s3_store)
    assert s3_server.secret_key.encode() not in frozen
    assert pickle.loads(frozen).get("k") == b"data"


def test_one_of_eight_writers_wins_each_key(s3_config: StorageConfig) -> None:
    """Twenty keys, five at a time: the server lets those that lose a key wait for seconds."""
    stores = [open_store(s3_config) for _ in range(8)]
    barriers = [threading.Barrier(8) for _ in range(20)]

    def claim(place: tuple[int, int]) -> tuple[int, int] | None:
        number, writer = place
        barriers[number].wait()
        try:
            stores[writer].put_new(f"race/{number}", f"{writer}".encode() * 1000)
        except AlreadyExistsError:
            return None
        return place

    with ThreadPoolExecutor(5 * 8) as pool:
        won = [place for place in pool.map(claim, product(range(20), range(8))) if place]
    assert [number for number, _ in won] == list(range(20))
    for number, writer in won:
        assert stores[0].get(f"race/{number}") == f"{writer}".encode() * 1000


@pytest.mark.parametrize("variable", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
def test_wrong_credentials(variable: str, s3_config: StorageConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "wrong-on-purpose")
    store = open_store(s3_config)
    for call in (store.get, store.exists, lambda key: store.put(key, b"x"), lambda key: store.put_new(key, b"x")):
        with pytest.raises(StorageError, match="AWS_") as caught:
            call("k")
        assert "wrong-on-purpose" not in str(caught.value) and "\n" not in str(caught.value)


def test_credentials_that_may_only_read(
    s3_store: Store, s3_config: StorageConfig, s3_server: LocalS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3_store.put("k", b"data")
    for name, value in s3_server.environment(reader=True).items():
        monkeypatch.setenv(name, value)
    reader = open_store(s3_config)
    assert reader.get("k") == b"data" and reader.list("") == ["k"] and reader.size("k") == 4
    calls = (
        lambda: reader.put("k", b"x"),
        lambda: reader.put_chunks("k", [b"x"]),
        lambda: reader.put_new("new", b"x"),
        lambda: reader.copy("k", "other"),
        lambda: reader.delete("k"),
    )
    for call in calls:
        with pytest.raises(StorageError, match=r"refused .*may not do this.*rights") as caught:
            call()
        assert "\n" not in str(caught.value)
    assert reader.list("") == ["k"] and reader.get("k") == b"data"


def test_a_clock_that_is_an_hour_off(s3_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore import auth

    now = auth.get_current_datetime
    monkeypatch.setattr(auth, "get_current_datetime", lambda: now() - timedelta(hours=1))
    with pytest.raises(StorageError, match=r"the clock of this machine is .*set this machine's clock") as caught:
        s3_store.get("k")
    assert "credentials" not in str(caught.value)


def test_no_such_bucket(s3_config: StorageConfig) -> None:
    store = open_store(dataclasses.replace(s3_config, root="s3://no-such-bucket/p"))
    calls = (store.get, store.exists, store.list, store.delete, lambda key: store.put_new(key, b"x"))
    for call in calls:
        with pytest.raises(StorageError, match="there is no bucket no-such-bucket at http"):
            call("k")


@pytest.fixture
def own_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalS3]:
    """A server that a test may freeze or kill."""
    with LocalS3() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        yield server


def test_a_freeze_is_ridden_out(own_server: LocalS3) -> None:
    store = open_store(StorageConfig(root=f"{own_server.root}/p", timeout_seconds=2.0, retries=8))
    store.put("before", b"data")
    os.kill(own_server.pid, signal.SIGSTOP)
    thaw = threading.Timer(6.0, os.kill, (own_server.pid, signal.SIGCONT))
    thaw.start()
    started = time.monotonic()
    try:
        store.put_new("during", b"data")
        assert store.get("before") == b"data"
    finally:
        thaw.join()
    assert time.monotonic() - started > 5
    assert store.get("during") == b"data"


def test_a_crash_is_ridden_out_and_loses_nothing(own_server: LocalS3) -> None:
    store = open_store(StorageConfig(root=f"{own_server.root}/p", timeout_seconds=5.0, retries=10))
    for number in range(10):
        store.put_new(f"k/{number}", bytes([number]) * 100_000)
    own_server.kill()
    with pytest.raises(StorageError, match="failed 1 times: no connection"):
        open_store(StorageConfig(root=own_server.root, retries=0)).get("k/0")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(store.get, "k/9")
        own_server.start()
        assert answer.result() == bytes([9]) * 100_000
    assert store.list("k") == [f"k/{number}" for number in range(10)]
    with pytest.raises(AlreadyExistsError):
        store.put_new("k/3", b"other")


def test_every_version_of_an_object_is_told_read_and_removed(s3_server: LocalS3, s3_config: StorageConfig) -> None:
    s3_server.make_bucket("versions")
    kept = {"Status": "Enabled"}
    s3_server.client().put_bucket_versioning(Bucket="versions", VersioningConfiguration=kept)
    store = open_store(dataclasses.replace(s3_config, root="s3://versions/below"))
    store.put("a/x", b"one")
    store.put("a/x", b"two")
    store.delete("a/x")
    store.put("a/y", b"y")
    store.copy("a/y", "b/z")
    assert [stored.key for stored in store.entries("")] == ["a/y", "b/z"] and store.get("b/z") == b"y"
    told = store.history("a")
    assert sorted(store.read(stored) for stored in told if not stored.marker) == [b"one", b"two", b"y"]
    assert [stored.key for stored in told if stored.marker] == ["a/x"]
    assert sorted(store.read_range(stored, 1, stored.size - 1) for stored in told if stored.size) == [b"", b"ne", b"wo"]
    for stored in store.history(""):
        store.remove(stored)
        store.remove(stored)
    assert not store.history("") and abs(store.clock() - time.time()) < 60
