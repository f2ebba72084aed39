"""The suppression list: what is on it stays on it, whoever writes at the same time."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from deemo_dist.dataset.lifecycle.suppression import Row, read_suppressed, suppress, token_of
from deemo_dist.digests import canonical_json
from deemo_dist.errors import CorruptDataError, DatasetError
from deemo_dist.storage import Store

KEY = "k" * 16


def test_of_many_who_add_at_once_none_loses_a_row(store: Store) -> None:
    rows = [token_of("subject", f"{number:032x}") for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda row: suppress(store, KEY, [row]), rows * 2))
    assert read_suppressed(store, KEY).rows == frozenset(rows)


def test_adding_again_writes_nothing(store: Store) -> None:
    row = Row("person", "t" * 64)
    suppress(store, KEY, [row])
    before = store.list("suppressed")
    suppress(store, KEY, [row])
    assert store.list("suppressed") == before and len(before) == 1


def test_the_one_object_of_before_is_still_read(store: Store) -> None:
    old, new = Row("person", "a" * 64), Row("person", "b" * 64)
    store.put(f"suppressed/{KEY}.jsonl", canonical_json({"version": 1, **vars(old)}) + b"\n")
    suppress(store, KEY, [old, new])
    assert read_suppressed(store, KEY).rows == {old, new}
    assert store.get(f"suppressed/{KEY}.jsonl").count(b"\n") == 1
    (added,) = store.list(f"suppressed/{KEY}")
    assert store.get(added).count(b"\n") == 1


@pytest.mark.parametrize(("data", "kind"), [(b"{", CorruptDataError), (b'{"version": 99}', DatasetError)])
def test_a_row_that_cannot_be_read_keeps_nobody_in(store: Store, data: bytes, kind: type[Exception]) -> None:
    store.put(f"suppressed/{KEY}/x.jsonl", data)
    with pytest.raises(kind, match="suppressed"):
        read_suppressed(store, KEY)
