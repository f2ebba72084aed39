"""The search behind the proof: a key is found wherever it stands, and nothing else is."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deemo_dist.dataset import plan_units
from deemo_dist.dataset.lifecycle import scan as scanning
from deemo_dist.dataset.lifecycle.scan import KEY_HEX, Sought, file_holds_key, scan
from deemo_dist.storage import Store, Stored
from tests.versioned import VersionedStore

KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
OTHER = "f" * 32
SOUGHT = Sought.of([KEY, OTHER])
bytes_around = st.one_of(st.binary(max_size=70), st.text("0123456789abcdef", max_size=70).map(str.encode))


@given(before=bytes_around, after=bytes_around)
def test_a_key_is_found_wherever_it_stands(before: bytes, after: bytes) -> None:
    assert SOUGHT.within(before + KEY.encode() + after, "shard.tar")


@given(data=st.binary(max_size=300).map(lambda data: b"-" + data.replace(b"f" * 32, b"")))
def test_what_holds_no_key_is_not_found(data: bytes) -> None:
    assert not Sought.of([KEY]).within(data, "shard.tar")
    assert not SOUGHT.within(KEY[:31].encode() + b"-" + data.replace(KEY.encode(), b""), "x.bin")


def parquet(column: pa.Array, metadata: dict[bytes, bytes] | None = None) -> bytes:
    sink = io.BytesIO()
    table = pa.table({"other": pa.array(["x"] * len(column)), "column": column}).replace_schema_metadata(metadata)
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", KEY, None]),
        pa.array([["a"], [KEY, "b"], None]),
        pa.array([{"deep": [{"key": KEY}]}]),
        pa.array([[("name", KEY)]], pa.map_(pa.string(), pa.string())),
        pa.array([[(KEY, 1.0)]], pa.map_(pa.string(), pa.float64())),
        pa.array([KEY, "a", KEY]).dictionary_encode(),
        pa.array([KEY], pa.large_string()),
        pa.array([KEY.encode()]),
    ],
)
def test_keys_in_compressed_columns_are_found(column: pa.Array) -> None:
    assert SOUGHT.within(parquet(column), "part.parquet")
    assert not Sought.of(["a" * 32]).within(parquet(column), "part.parquet")


def test_a_parquet_file_that_cannot_be_read_counts_as_if_it_held_one() -> None:
    assert SOUGHT.within(b"PAR1 broken", "part.parquet") and SOUGHT.within(parquet(pa.array(["x"]))[:-9], "p")
    assert SOUGHT.within(parquet(pa.array(["x"]), {b"note": KEY.encode()}), "p")


def test_pages_show_short_keys() -> None:
    assert SOUGHT.within(f"<b>{KEY[:8]}</b>".encode(), "report.html")
    assert not SOUGHT.within(f"<b>{KEY[:8]}a</b> {KEY[:7]} x{KEY[:8]}".encode(), "report.html")
    assert not SOUGHT.within(KEY[:8].encode(), "numbers.json")


def test_a_whole_prefix_is_searched(store: Store, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made.dataset(store, plan_units(made.clips(6), 4000))
    person = made.key("subject 0")
    found = scan(store, Sought.of([person]))
    kinds = {stored.key.split("/")[3] for stored in found.found if stored.key.startswith("datasets")}
    assert kinds == {"shards", "receipts", "index"} and found.objects == len(store.list(""))
    sample = made.key(made.clips(1)[0].uri)
    assert {stored.key.split("/")[0] for stored in scan(store, Sought.of([sample])).found} == {
        "datasets",
        "annotations",
    }
    monkeypatch.setattr(scanning, "PIECE", 100)
    assert {stored.key for stored in scan(store, Sought.of([person])).found} == {each.key for each in found.found}
    (tmp_path / "store/.dead.tmp").write_bytes(KEY.encode())
    assert [stored.key for stored in scan(store, SOUGHT).found] == [".dead.tmp"]


class Frugal(VersionedStore):
    """Reads nothing whole that is larger than a piece, and remembers how much was read at once."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0

    def read(self, stored: Stored) -> bytes:
        self.most = max(self.most, stored.size)
        return super().read(stored)

    def read_range(self, stored: Stored, start: int, length: int) -> bytes:
        self.most = max(self.most, length)
        return super().read(stored)[start : start + length]


@pytest.mark.parametrize("name", ["runs/r/s-1/checkpoints/10/rank-0.safetensors", "runs/r/.dead.tmp", "plain"])
@pytest.mark.parametrize("before", [0, 1000 - KEY_HEX, 1000 - 1, 2500])
def test_older_versions_and_half_written_files_are_read_in_pieces(
    monkeypatch: pytest.MonkeyPatch, name: str, before: int
) -> None:
    monkeypatch.setattr(scanning, "PIECE", 1000)
    store = Frugal()
    for data in (b"-" * before + KEY.encode() + b"-" * 3000, b"-" * before + KEY[:-1].encode() + b"-" * 3000):
        store.put(name, data)
    store.delete(name)
    found = scan(store, SOUGHT)
    assert [stored.version for stored in found.found] == ["0"] and found.objects == 2
    assert store.most == 1000 + KEY_HEX


def test_parquet_is_read_whole_whatever_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "PIECE", 100)
    store = VersionedStore()
    for name, key in (("a.parquet", KEY), ("b.parquet", "x"), ("runs/.dead.tmp", KEY), ("runs/.other.tmp", "x")):
        store.put(name, parquet(pa.array([key])))
    assert [stored.key for stored in scan(store, SOUGHT).found] == ["a.parquet", "runs/.dead.tmp"]


@pytest.mark.parametrize("before", [0, 1000 - KEY_HEX, 1000 - 1, 2500])
def test_a_file_larger_than_a_piece_is_searched_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    monkeypatch.setattr(scanning, "PIECE", 1000)
    page = tmp_path / "report.json"
    page.write_bytes(b"-" * before + KEY.encode() + b"-" * 3000)
    assert file_holds_key(page, SOUGHT)
    page.write_bytes(b"-" * before + KEY[:-1].encode() + b"-" * 3000)
    assert not file_holds_key(page, SOUGHT)
