"""Our store against a real S3 server behind a proxy that misbehaves."""

import threading
import time
from collections.abc import Iterator

import pytest

from cluster.local.s3 import LocalS3
from deemo_dist.config import StorageConfig
from deemo_dist.errors import AlreadyExistsError
from deemo_dist.storage import open_store
from deemo_dist.storage.budget import REGAIN_PER_SECOND
from deemo_dist.storage.s3 import S3Store
from tests.proxies.s3 import Fault, FaultProxy

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[LocalS3]:
    with LocalS3() as server:
        yield server


@pytest.fixture
def proxy(server: LocalS3, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    with FaultProxy(server.endpoint) as proxy:
        yield proxy


def opened(server: LocalS3, proxy: FaultProxy, **changes: float) -> S3Store:
    store = open_store(StorageConfig(root=server.root, endpoint=proxy.endpoint, **changes))  # type: ignore[arg-type]
    assert isinstance(store, S3Store)
    return store


def test_whatever_the_proxy_does_the_store_holds_what_was_put(server: LocalS3, proxy: FaultProxy) -> None:
    store = opened(server, proxy)
    faults: tuple[Fault, ...] = ("slow", "lost", "cut")
    for fault in faults:
        proxy.misbehave(fault, seconds=0.7)
        store.put_new(f"once/{fault}", fault.encode() * 99)
        assert store.get(f"once/{fault}") == fault.encode() * 99
        with pytest.raises(AlreadyExistsError):
            store.put_new(f"once/{fault}", b"another")
    assert store.list("once") == ["once/cut", "once/lost", "once/slow"]
    assert proxy.counts["slow"] and proxy.counts["lost"]


def test_slow_down_halves_what_is_asked_and_it_comes_back_slowly(server: LocalS3, proxy: FaultProxy) -> None:
    """200 a second; 503 for 1.5 s: two halvings, for one burst counts once a second. Then 2 % of the full a second."""
    store = opened(server, proxy, requests_per_second=200.0)
    store.put("k", b"x")
    proxy.misbehave("slow", seconds=1.5)
    threads = [threading.Thread(target=store.get, args=("k",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    slowed = store.budget.rate
    assert 50 <= slowed < 80
    refused, before = proxy.counts["slow"], time.monotonic()
    assert 8 <= refused <= 8 * 7
    while time.monotonic() - before < 1.5:
        store.get("k")
    passed = time.monotonic() - before
    assert store.budget.rate == pytest.approx(slowed + REGAIN_PER_SECOND * 200 * passed, rel=0.1)


def test_a_server_that_is_killed_and_started_again_is_waited_for(server: LocalS3, proxy: FaultProxy) -> None:
    store = opened(server, proxy)
    store.put("kept", b"data")
    server.kill()
    got: list[bytes] = []
    thread = threading.Thread(target=lambda: got.append(store.get("kept")))
    thread.start()
    time.sleep(3.0)
    server.start()
    thread.join(60)
    assert got == [b"data"]
