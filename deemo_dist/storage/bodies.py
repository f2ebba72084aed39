"""Bodies of answers: read whole, or streamed into a file."""

import contextlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from deemo_dist.storage.retry import TruncatedBodyError

CHUNK_BYTES = 1 << 20


class BrokenBodyError(Exception):
    """A body broke off by ``cause``. No ``OSError``, as many faults of a network are: a file's own are told apart."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(cause)
        self.cause = cause


def whole(answer: dict[str, Any], length: int) -> bytes:
    """The whole body; ``TruncatedBodyError`` when it is not ``length`` bytes."""
    with contextlib.closing(answer["Body"]) as body:
        data: bytes = body.read()
    if len(data) != length:
        raise TruncatedBodyError
    return data


def stream(answer: dict[str, Any], file: BinaryIO) -> None:
    """Copy a body to a file in chunks. ``BrokenBodyError`` when it breaks off, ``TruncatedBodyError`` when it ends
    early; an ``OSError`` is the file's."""
    done = 0
    with contextlib.closing(answer["Body"]) as body:
        for chunk in _chunks(body):
            done += file.write(chunk)
    if done != answer["ContentLength"]:
        raise TruncatedBodyError


def _chunks(body: Any) -> Iterator[bytes]:
    try:
        yield from body.iter_chunks(CHUNK_BYTES)
    except OSError as error:
        raise BrokenBodyError(error) from None
