"""Looking for planted names in every byte of what was left behind, in whatever form a tool may have written them."""

import base64
import gzip
import html
import io
import json
import re
import sqlite3
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote, quote_plus

import pyarrow.parquet as pq

_BASE64 = re.compile(rb"[A-Za-z0-9+/]{64,}={0,2}")


@dataclass(frozen=True)
class Leak:
    """``needle`` stands in ``place`` (a path, and what inside it)."""

    needle: str
    place: str


class Needles:
    """Names in all the forms they are looked for: as they are, percent-encoded, escaped, in UTF-16 and in base64;
    ``raw`` bytes, each with what it is called, as they are."""

    def __init__(self, names: Iterable[str], *, raw: Mapping[bytes, str] = MappingProxyType({})) -> None:
        self._forms: dict[bytes, str] = {form: name for name in names for form in _forms(name)}
        self._forms |= {data.lower(): name for data, name in raw.items()}
        self._pattern = re.compile(_any_of(sorted(self._forms, key=len, reverse=True)))

    def within(self, data: bytes, place: str) -> Iterator[Leak]:
        """Names in ``data``, and in what is packed inside it."""
        for piece, where in _unpacked(data, place):
            found = {self._forms[match.group()] for match in self._pattern.finditer(piece.lower())}
            yield from (Leak(name, where) for name in sorted(found))

    def below(self, folder: Path, *, leave_out: str | None = None) -> tuple[list[Leak], int]:
        """Names in the paths and the contents of all files below ``folder`` but those whose path has ``leave_out`` in
        it; and how many files were read. Sockets and files that vanish meanwhile are passed over."""
        leaks: list[Leak] = []
        count = 0
        for path in sorted(folder.rglob("*")):
            if leave_out is not None and leave_out in str(path):
                continue
            leaks += self.within(str(path).encode(), f"the name of {path}")
            if path.is_file():
                try:
                    data = path.read_bytes()
                except FileNotFoundError:
                    continue
                count += 1
                leaks += self.within(data, str(path))
                leaks += self.within(_rows_of_database(path, data), f"{path}, its rows")
        return leaks, count


def _any_of(forms: Sequence[bytes], depth: int = 3) -> bytes:
    """A pattern of one of ``forms``, the first that fits: told apart by their first bytes, since hundreds of megabytes
    are looked through for a thousand of them."""
    if depth == 0 or b"" in forms:
        return b"|".join(map(re.escape, forms))
    parts: dict[bytes, list[bytes]] = {}
    for form in forms:
        parts.setdefault(form[:1], []).append(form[1:])
    return b"|".join(re.escape(first) + b"(?:" + _any_of(rest, depth - 1) + b")" for first, rest in parts.items())


def _forms(name: str) -> set[bytes]:
    """Every way a name may be written, lower-cased as ``bytes.lower`` does it."""
    texts = {name, name.lower(), name.casefold(), name.replace(" ", "_"), name.replace(" ", "-")}
    texts |= {form for text in set(texts) for form in (quote(text), quote(text, safe=""), quote_plus(text))}
    texts |= {form for text in set(texts) for form in (json.dumps(text)[1:-1], html.escape(text))}
    forms = {text.encode(code) for text in texts for code in ("utf-8", "utf-16-le", "utf-16-be")}
    return {form.lower() for form in forms} | {form for text in (name, name.lower()) for form in _base64_of(text)}


def _base64_of(text: str) -> Iterator[bytes]:
    """A text's base64 at each of its three alignments (lower-cased as the haystack is): every sign that the text alone
    determines, for fewer of them are found by chance in any long picture."""
    data = text.encode()
    for shift in range(3):
        first, last = -(-8 * shift // 6), 8 * (shift + len(data)) // 6
        yield base64.b64encode(b"\0" * shift + data)[first:last].lower()


def _unpacked(data: bytes, place: str, depth: int = 0) -> Iterator[tuple[bytes, str]]:
    """``data``, and what it holds compressed or encoded: gzip, zip, tar, Parquet, base64, four levels deep."""
    yield data, place
    if depth == 4:
        return
    for inner, where in _inside(data, place):
        yield from _unpacked(inner, where, depth + 1)


def _inside(data: bytes, place: str) -> Iterator[tuple[bytes, str]]:
    if data[:2] == b"\x1f\x8b":
        yield _or_nothing(gzip.decompress, data), f"{place}, unzipped"
    elif data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            for name in packed.namelist():
                yield packed.read(name), f"{place}, {name}"
    elif data[257:262] == b"ustar":
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for member in tar:
                content = tar.extractfile(member)
                yield content.read() if content else b"", f"{place}, {member.name}"
    elif data[:4] == b"PAR1":
        table = pq.read_table(io.BytesIO(data))
        said = [str(table.schema.metadata), *(json.dumps(row, default=str) for row in table.to_pylist())]
        yield "\n".join(said).encode(), f"{place}, its rows"
    for match in _BASE64.finditer(data):
        yield _or_nothing(base64.b64decode, match.group()), f"{place}, base64 at {match.start()}"


def _or_nothing(unpack: Callable[[bytes], bytes], data: bytes) -> bytes:
    """What could be unpacked; what only looks packed gives nothing, and was read as it stands."""
    try:
        return unpack(data)
    except (ValueError, OSError, EOFError, zlib.error):
        return b""


def _rows_of_database(path: Path, data: bytes) -> bytes:
    """An SQLite file's rows as text: long values are cut over pages in the file itself."""
    if data[:15] != b"SQLite format 3":
        return b""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        return "\n".join(database.iterdump()).encode()
