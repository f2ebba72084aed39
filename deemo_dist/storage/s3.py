"""Objects in an S3 bucket, by boto3 with our own retries inside a request budget."""

import functools
import os
import time
import uuid
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar

from deemo_dist.config import StorageConfig
from deemo_dist.errors import AlreadyExistsError, ConfigError, DeemoError, NotFoundError, StorageError
from deemo_dist.storage import bodies, retry
from deemo_dist.storage.budget import RequestBudget, shared_budget
from deemo_dist.storage.client import endpoint_of, make_client
from deemo_dist.storage.files import translated, write_whole
from deemo_dist.storage.keys import check_key, folder_prefix, split_s3
from deemo_dist.storage.local import short_object
from deemo_dist.storage.parts import WRITER, PartedUpload
from deemo_dist.storage.pieces import Pieces
from deemo_dist.storage.store import Store, Stored

Result = TypeVar("Result")
PARTS_ABOVE_BYTES = 1 << 30


class S3Store(Store):
    """Objects of one bucket below a prefix. The client is made at first use in each process.

    Credentials come from the usual AWS_* variables, the endpoint from ``config.endpoint`` or AWS_ENDPOINT_URL. A 503,
    5xx, time-out, reset or truncated body is retried ``config.retries`` times; requests stay within
    ``config.requests_per_second`` of this process.
    """

    def __init__(self, config: StorageConfig) -> None:
        if config.requests_per_second <= 0 or config.retries < 0 or config.timeout_seconds <= 0:
            message = "storage.requests_per_second and timeout_seconds must be above 0, storage.retries 0 or more"
            raise ConfigError(message)
        self.config = config
        self.bucket, prefix = split_s3(config.root)
        self.prefix = folder_prefix(prefix)
        self.root = f"s3://{self.bucket}/{self.prefix}".rstrip("/")
        self.endpoint = endpoint_of(config)
        self._reset()

    def _reset(self) -> None:
        self._client: Any = None
        self._process = 0

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in ("_client", "_process")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._reset()

    @property
    def budget(self) -> RequestBudget:
        """The request budget of this process for this endpoint."""
        return shared_budget(self.endpoint, self.config.requests_per_second)

    @property
    def client(self) -> Any:
        """The boto3 client of this process (a fork gets its own)."""
        if self._client is None or self._process != os.getpid():
            self._client, self._process = make_client(self.config), os.getpid()
        return self._client

    def uri(self, key: str) -> str:
        """s3:// URI of ``key``."""
        return f"s3://{self.bucket}/{self._name(key)}"

    def get(self, key: str) -> bytes:
        """The whole object, of exactly the announced length."""
        return self.get_named(self._name(key), key)

    def get_named(self, name: str, label: str) -> bytes:
        """The object of the bucket called ``name``; messages call it ``label``."""

        def read(attempt: int) -> bytes:
            answer = self.client.get_object(Bucket=self.bucket, Key=name)
            return bodies.whole(answer, answer["ContentLength"])

        return self._try(read, label)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """``length`` bytes from ``start`` in one request."""
        return self._range({"Key": self._name(key)}, key, start, length)

    def _range(self, named: dict[str, str], key: str, start: int, length: int) -> bytes:
        """``length`` bytes from ``start`` of the object, or the version of one, that is ``named``."""
        if start < 0 or length < 0:
            raise StorageError(f"{key}: no range starts at {start} with {length} bytes")
        if length == 0:
            return b""

        def read(attempt: int) -> bytes:
            try:
                span = f"bytes={start}-{start + length - 1}"
                answer = self.client.get_object(Bucket=self.bucket, **named, Range=span)
            except self.client.exceptions.ClientError as error:
                if retry.status_of(error) == 416:
                    raise short_object(key, self.root, start, length, 0) from None
                raise
            if answer["ContentLength"] != length:
                raise short_object(key, self.root, start, length, answer["ContentLength"])
            return bodies.whole(answer, length)

        return self._try(read, key)

    def put(self, key: str, data: bytes) -> None:
        """Write or replace in one request (atomic on the server, its checksum sent along)."""
        name = self._name(key)
        self._try(lambda attempt: self.client.put_object(Bucket=self.bucket, Key=name, Body=data), key)

    def put_chunks(self, key: str, chunks: Sequence[bytes]) -> None:
        """Write or replace in one request, from where the pieces lie."""
        name = self._name(key)
        self._try(lambda attempt: self.client.put_object(Bucket=self.bucket, Key=name, Body=Pieces(chunks)), key)

    def put_new(self, key: str, data: bytes) -> None:
        """Write under ``If-None-Match: *``.

        When an answer was lost, a retry may find the key taken by this very call: a mark in its metadata tells.
        """
        name, mark = self._name(key), uuid.uuid4().hex

        def write(attempt: int) -> None:
            try:
                metadata = {WRITER: mark}
                self.client.put_object(Bucket=self.bucket, Key=name, Body=data, IfNoneMatch="*", Metadata=metadata)
            except self.client.exceptions.ClientError as error:
                if retry.status_of(error) != 412:
                    raise
                if not (attempt and self._head(name)["Metadata"].get(WRITER) == mark):
                    raise AlreadyExistsError(f"{key} exists already in {self.root}") from None

        self._try(write, key)

    def exists(self, key: str) -> bool:
        """Whether the object is there; a missing bucket is an error."""
        try:
            self.size(key)
        except NotFoundError:
            return False
        return True

    def size(self, key: str) -> int:
        """Bytes of the object."""
        name = self._name(key)
        try:
            return int(self._try(lambda attempt: self._head(name)["ContentLength"], key))
        except NotFoundError:
            # an answer to HEAD has no body: 404 may mean the bucket
            self._try(lambda attempt: self._head_bucket(), key)
            raise

    def stat(self, key: str) -> Stored:
        """Size and time of the object."""
        name = self._name(key)
        answer = self._try(lambda attempt: self._head(name), key)
        modified, version = answer["LastModified"].timestamp(), answer.get("VersionId")
        return Stored(key=key, size=int(answer["ContentLength"]), modified=modified, version=version)

    def list(self, prefix: str) -> list[str]:
        """Sorted keys below the folder ``prefix``, page by page."""
        return [stored.key for stored in self.entries(prefix)]

    def entries(self, prefix: str) -> Sequence[Stored]:
        """Objects below the folder ``prefix``, page by page."""
        found: list[Stored] = []
        token: dict[str, str] = {}
        while True:
            page = self._try(functools.partial(self._page, self._below(prefix), token), prefix or "everything")
            found += self._stored(page.get("Contents", []))
            if not page.get("IsTruncated"):
                return sorted(found, key=lambda stored: stored.key)
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def history(self, prefix: str) -> Sequence[Stored]:
        """Every version and delete marker below the folder ``prefix``, page by page."""
        found: list[Stored] = []
        token: dict[str, str] = {}
        while True:
            page = self._try(functools.partial(self._versions, self._below(prefix), token), prefix or "everything")
            found += self._stored(page.get("Versions", []))
            found += self._stored(page.get("DeleteMarkers", []), marker=True)
            if not page.get("IsTruncated"):
                return sorted(found, key=lambda stored: (stored.key, stored.modified))
            token = {name: page["Next" + name] for name in ("KeyMarker", "VersionIdMarker") if page.get("Next" + name)}

    def read(self, stored: Stored) -> bytes:
        """One version of an object."""
        named = self._named(stored)

        def read(attempt: int) -> bytes:
            answer = self.client.get_object(Bucket=self.bucket, **named)
            return bodies.whole(answer, answer["ContentLength"])

        return self._try(read, stored.key)

    def read_range(self, stored: Stored, start: int, length: int) -> bytes:
        """``length`` bytes of one version from ``start`` in one request."""
        return self._range(self._named(stored), stored.key, start, length)

    def remove(self, stored: Stored) -> None:
        """Remove one version of an object, or a marker."""
        named = self._named(stored)
        self._try(lambda attempt: self.client.delete_object(Bucket=self.bucket, **named), stored.key)

    def copy(self, source: str, target: str) -> None:
        """Copied by the server."""
        origin, name = {"Bucket": self.bucket, "Key": self._name(source)}, self._name(target)
        self._try(lambda attempt: self.client.copy_object(Bucket=self.bucket, Key=name, CopySource=origin), source)

    def clock(self) -> float:
        """The server's clock, by the date of its answer."""
        answer = self._try(lambda attempt: self._head_bucket(), "the server's clock")
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        return parsedate_to_datetime(date).timestamp() if date else time.time()

    def delete(self, key: str) -> None:
        """Remove the object if it is there."""
        name = self._name(key)
        self._try(lambda attempt: self.client.delete_object(Bucket=self.bucket, Key=name), key)

    def local_path(self, key: str) -> Path | None:
        """``None``: a bucket has no files."""
        check_key(key)
        return None

    def upload(self, path: Path, key: str) -> None:
        """Send a file: one request up to 1 GiB, in parts (some at once, each retried alone) above."""
        place = {"Bucket": self.bucket, "Key": self._name(key)}
        with translated("read", key, "the folder it is uploaded from"):
            size = path.stat().st_size
        if size > PARTS_ABOVE_BYTES:
            attempt = functools.partial(self._try, label=key)
            PartedUpload(path=path, size=size, label=key, client=self.client, place=place, attempt=attempt).send()
            return

        def send(attempt: int) -> None:
            with path.open("rb") as file:
                self.client.put_object(**place, Body=file)

        self._try(send, key)

    def download(self, key: str, path: Path) -> None:
        """Stream the object to ``path``."""
        self.download_named(self._name(key), key, path)

    def download_named(self, name: str, label: str, path: Path) -> None:
        """Stream the object of the bucket called ``name`` to ``path``; messages call it ``label``. A 404 is believed of
        the object alone where the bucket is there: what is no S3 server says 404 to everything."""

        def receive(attempt: int) -> None:
            answer = self.client.get_object(Bucket=self.bucket, Key=name)
            try:
                with translated("write", label, "the local folder"):
                    write_whole(path, lambda file: bodies.stream(answer, file))
            except bodies.BrokenBodyError as broken:
                raise broken.cause from None

        try:
            self._try(receive, label)
        except NotFoundError:
            self._try(lambda attempt: self._head_bucket(), label)
            raise

    def _name(self, key: str) -> str:
        return self.prefix + check_key(key)

    def _named(self, stored: Stored) -> dict[str, str]:
        """How the bucket calls something that :meth:`history` named."""
        version = {"VersionId": stored.version} if stored.version else {}
        return {"Key": self.prefix + stored.key, **version}

    def _head(self, name: str) -> dict[str, Any]:
        return self.client.head_object(Bucket=self.bucket, Key=name)

    def _head_bucket(self) -> dict[str, Any]:
        try:
            return self.client.head_bucket(Bucket=self.bucket)
        except self.client.exceptions.ClientError as error:
            if retry.status_of(error) != 404:
                raise
            error.response["Error"]["Code"] = "NoSuchBucket"
            raise

    def _page(self, prefix: str, token: dict[str, str], attempt: int) -> dict[str, Any]:
        return self.client.list_objects_v2(Bucket=self.bucket, Prefix=prefix, **token)

    def _versions(self, prefix: str, token: dict[str, str], attempt: int) -> dict[str, Any]:
        return self.client.list_object_versions(Bucket=self.bucket, Prefix=prefix, **token)

    def _below(self, prefix: str) -> str:
        return self.prefix + folder_prefix(prefix)

    def _stored(self, items: Sequence[dict[str, Any]], *, marker: bool = False) -> Sequence[Stored]:
        """A page's items as entries; the names of folders are none."""
        return [
            Stored(
                key=item["Key"][len(self.prefix) :],
                size=int(item.get("Size", 0)),
                modified=item["LastModified"].timestamp(),
                version=item.get("VersionId"),
                current=bool(item.get("IsLatest", True)),
                marker=marker,
            )
            for item in items
            if not item["Key"].endswith("/")
        ]

    def _try(self, call: Callable[[int], Result], label: str) -> Result:
        def describe(error: BaseException, tries: int) -> DeemoError:
            return retry.describe(error, label=label, bucket=self.bucket, endpoint=self.endpoint, tries=tries)

        return retry.with_retries(call, budget=self.budget, retries=self.config.retries, describe=describe)
