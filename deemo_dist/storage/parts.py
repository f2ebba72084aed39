"""Large files as objects in parts: each part is tried again alone, and what fails leaves no part behind."""

import contextlib
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from deemo_dist.errors import StorageError
from deemo_dist.storage import retry
from deemo_dist.storage.files import translated

Result = TypeVar("Result")
PART_BYTES = 16 * 2**20
MOST_PARTS = 10_000
AT_ONCE = 8
WRITER = "deemo-writer"
"""A metadatum by which a writer knows its own object again, when the answer to its request was lost."""


class Attempt(Protocol):
    """Runs a request of S3, again and again while its fault may pass; makes the project's error of one that stays."""

    def __call__(self, call: Callable[[int], Result]) -> Result:
        """``call`` is given the number of the try, from 0."""
        ...


@dataclass(frozen=True, kw_only=True)
class PartedUpload:
    """A file of ``size`` bytes on its way to ``place`` (bucket and key); messages call it ``label``.

    At most ``AT_ONCE`` parts are in memory. The object appears when all of them are there.
    """

    path: Path
    size: int
    label: str
    client: Any
    place: Mapping[str, str]
    attempt: Attempt

    def send(self) -> None:
        """Send all parts and make the object of them. Raises ``StorageError``; the server then drops the parts."""
        mark = uuid.uuid4().hex
        said = {**self.place, "Metadata": {WRITER: mark}, **self._checksums}
        begun = self.attempt(lambda _: self.client.create_multipart_upload(**said))
        upload = {**self.place, "UploadId": begun["UploadId"]}
        try:
            parts = self._send_parts(upload)
            self.attempt(lambda number: self._complete(upload, parts, mark, again=number > 0))
        except BaseException:
            with contextlib.suppress(Exception):  # the server's rule for unfinished uploads is left
                self.client.abort_multipart_upload(**upload)
            raise

    @property
    def part_bytes(self) -> int:
        """Bytes of each part but the last."""
        return max(PART_BYTES, -(-self.size // MOST_PARTS))

    @property
    def _checksums(self) -> dict[str, str]:
        """The checksum that the client sends with each part has to be said when the upload begins."""
        sent = self.client.meta.config.request_checksum_calculation == "when_supported"
        return {"ChecksumAlgorithm": "CRC32"} if sent else {}

    def _send_parts(self, upload: Mapping[str, str]) -> list[dict[str, Any]]:
        """What the server says of each part, in their order. After a fault no further part is begun."""
        count = -(-self.size // self.part_bytes)
        pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="deemo-part")
        try:
            return list(pool.map(lambda number: self._send_part(upload, number), range(1, count + 1)))
        finally:
            pool.shutdown(cancel_futures=True)

    def _send_part(self, upload: Mapping[str, str], number: int) -> dict[str, Any]:
        data = self._read((number - 1) * self.part_bytes)
        answer = self.attempt(lambda _: self.client.upload_part(**upload, PartNumber=number, Body=data))
        checksums = {name: value for name, value in answer.items() if name.startswith("Checksum")}
        return {"PartNumber": number, "ETag": answer["ETag"], **checksums}

    def _read(self, start: int) -> bytes:
        """The part of the file from ``start``."""
        with translated("read", self.label, "the folder it is uploaded from"), self.path.open("rb") as file:
            file.seek(start)
            data = file.read(min(self.part_bytes, self.size - start))
        if len(data) < min(self.part_bytes, self.size - start):
            raise StorageError(f"{self.label} became shorter while it was uploaded", hint="upload what is finished")
        return data

    def _complete(self, upload: Mapping[str, str], parts: list[dict[str, Any]], mark: str, *, again: bool) -> None:
        """Make the object of its parts. When an answer was lost, the upload may be over and its object be there."""
        try:
            self.client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        except self.client.exceptions.ClientError as error:
            if not again or retry.code_of(error) != "NoSuchUpload" or not self._is_there(mark):
                raise

    def _is_there(self, mark: str) -> bool:
        """Whether the object is the one of this upload."""
        try:
            found = self.client.head_object(**self.place)
        except self.client.exceptions.ClientError:
            return False
        return bool(found["Metadata"].get(WRITER) == mark)
