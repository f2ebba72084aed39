"""Uploads in parts, by a small server that misbehaves for one of them, and by a real one."""

import os
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from deemo_dist.config import StorageConfig
from deemo_dist.errors import StorageError
from deemo_dist.storage import Store, open_store

Start = Callable[[Callable[[Any, int], None]], Any]
PART = 100_000


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deemo_dist.storage.retry.BASE_SECONDS", 0.01)
    monkeypatch.setattr("deemo_dist.storage.s3.PARTS_ABOVE_BYTES", PART)
    monkeypatch.setattr("deemo_dist.storage.parts.PART_BYTES", PART)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of three parts and a bit."""
    (tmp_path / "large").write_bytes(os.urandom(3 * PART + 7))
    return tmp_path / "large"


class Bucket:
    """Takes parts and makes an object of them; ``fault(handler, what, n)`` may answer the n-th request of a kind, a
    part's number or ``begin``, ``complete``, ``head``, ``drop``, in its place."""

    def __init__(self, http: Any, fault: Callable[[Any, str, int], bool] = lambda *_: False) -> None:
        self.http, self.fault = http, fault
        self.parts: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()
        self.object, self.mark, self.open = b"", "", False
        self.lock = threading.Lock()

    def __call__(self, handler: Any, _: int) -> None:
        asked = parse_qs(urlsplit(handler.path).query, keep_blank_values=True)
        kinds = {"POST": "begin" if "uploads" in asked else "complete", "DELETE": "drop", "HEAD": "head"}
        what = kinds.get(handler.command) or asked["partNumber"][0]
        with self.lock:
            self.asked[what] += 1
            number = self.asked[what]
        if not self.fault(handler, what, number):
            self.answer(handler, what)

    def answer(self, handler: Any, what: str) -> None:
        if what == "begin":
            self.open, self.mark = True, handler.headers["x-amz-meta-deemo-writer"]
            tags = "<Bucket>b</Bucket><Key>k</Key><UploadId>u</UploadId>"
            self.http.reply(
                handler, 200, f"<InitiateMultipartUploadResult>{tags}</InitiateMultipartUploadResult>".encode()
            )
        elif what == "complete" and not self.open:
            self.http.refuse(handler, 404, "NoSuchUpload")
        elif what == "complete":
            self.complete()
            self.http.reply(
                handler, 200, b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"
            )
        elif what == "drop":
            self.open, self.parts = False, {}
            self.http.reply(handler, 204)
        elif what == "head":
            self.described(handler)
        else:
            self.parts[what] = handler.body
            handler.send_response(200)
            for name, value in (("ETag", f'"{what}"'), ("Content-Length", "0")):
                handler.send_header(name, value)
            handler.end_headers()

    def complete(self) -> None:
        self.object = b"".join(self.parts[number] for number in sorted(self.parts, key=int))
        self.open = False

    def described(self, handler: Any) -> None:
        handler.send_response(200)
        for name, value in (("x-amz-meta-deemo-writer", self.mark), ("Content-Length", "0")):
            handler.send_header(name, value)
        handler.end_headers()


def opened(server: Any, **changes: Any) -> Store:
    fields = {"root": "s3://bucket/p", "endpoint": server.endpoint, "retries": 3, "timeout_seconds": 2.0, **changes}
    return open_store(StorageConfig(**fields))


def test_a_part_that_is_refused_once_is_sent_again_alone(faulty: Start, http: Any, large: Path) -> None:
    def once(handler: Any, what: str, number: int) -> bool:
        refused = what == "2" and number == 1
        if refused:
            http.refuse(handler, 503, "SlowDown")
        return refused

    bucket = Bucket(http, once)
    server = faulty(bucket)
    opened(server).upload(large, "k")
    assert bucket.object == large.read_bytes()
    assert bucket.asked == {"begin": 1, "1": 1, "2": 2, "3": 1, "4": 1, "complete": 1}
    checksums = [headers.get("x-amz-checksum-algorithm") for method, _, headers in server.requests if method == "POST"]
    assert checksums == ["CRC32", None] and server.requests[1][2]["x-amz-checksum-crc32"]


def test_a_part_that_may_not_be_written_ends_it_at_once_and_leaves_none(faulty: Start, http: Any, large: Path) -> None:
    def never(handler: Any, what: str, number: int) -> bool:
        if what == "2":
            http.refuse(handler, 403, "AccessDenied")
        return what == "2"

    bucket = Bucket(http, never)
    with pytest.raises(StorageError, match=r"refused k \(AccessDenied\) .*rights"):
        opened(faulty(bucket)).upload(large, "k")
    assert bucket.asked["2"] == bucket.asked["drop"] == 1 and not bucket.asked["complete"] and not bucket.parts


def test_the_tries_of_a_part_are_bounded_and_their_fault_is_told(faulty: Start, http: Any, large: Path) -> None:
    def never(handler: Any, what: str, number: int) -> bool:
        if what == "3":
            http.refuse(handler, 503, "SlowDown")
        return what == "3"

    bucket = Bucket(http, never)
    with pytest.raises(StorageError, match=r"k: s3://bucket at .* failed 4 times: SlowDown"):
        opened(faulty(bucket)).upload(large, "k")
    assert bucket.asked["3"] == 4 and bucket.asked["drop"] == 1


def test_a_lost_answer_does_not_lose_the_object(faulty: Start, http: Any, large: Path) -> None:
    """The object is made but the answer lost; the retry meets no upload and finds its own mark."""

    def lost(handler: Any, what: str, number: int) -> bool:
        if what != "complete" or number > 1:
            return False
        bucket.complete()
        handler.connection.close()
        handler.close_connection = True
        return True

    bucket = Bucket(http, lost)
    opened(faulty(bucket)).upload(large, "k")
    assert bucket.object == large.read_bytes() and bucket.asked["complete"] == 2 and bucket.asked["head"] == 1


def test_an_upload_that_the_server_dropped_is_said_to_be(faulty: Start, http: Any, large: Path) -> None:
    def dropped(handler: Any, what: str, number: int) -> bool:
        if what == "4":
            http.refuse(handler, 404, "NoSuchUpload")
        return what == "4"

    with pytest.raises(StorageError, match="dropped the parts of k before all were there - start again"):
        opened(faulty(Bucket(http, dropped))).upload(large, "k")


def test_a_file_that_becomes_shorter_is_no_object(faulty: Start, http: Any, large: Path) -> None:
    def cut(handler: Any, what: str, number: int) -> bool:
        if what == "begin":
            os.truncate(large, 2 * PART)
        return False

    bucket = Bucket(http, cut)
    with pytest.raises(StorageError, match="k became shorter"):
        opened(faulty(bucket)).upload(large, "k")
    assert not bucket.object and bucket.asked["drop"] == 1


def test_parts_grow_where_ten_thousand_would_not_do(faulty: Start, http: Any, large: Path) -> None:
    from deemo_dist.storage.parts import MOST_PARTS, PartedUpload

    upload = PartedUpload(path=large, size=5 * 2**40, label="k", client=None, place={}, attempt=lambda call: call(0))
    assert upload.part_bytes * MOST_PARTS >= upload.size > upload.part_bytes * (MOST_PARTS - 1)


@pytest.mark.slow
def test_a_real_server_makes_the_same_object(s3_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deemo_dist.storage.parts.PART_BYTES", 5 * 2**20)  # the least that S3 takes
    (tmp_path / "large").write_bytes(os.urandom(12_345_678))
    s3_store.upload(tmp_path / "large", "deep/k")
    assert s3_store.get("deep/k") == (tmp_path / "large").read_bytes()
