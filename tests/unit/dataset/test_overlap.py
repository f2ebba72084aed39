"""A mix of datasets that hold the same samples is refused."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deemo_dist.dataset import open_dataset, overlap, plan_units
from deemo_dist.dataset.lifecycle.combine import merge
from deemo_dist.dataset.overlap import refuse_shared_samples, shared_keys
from deemo_dist.dataset.rows import ByKey, Rows
from deemo_dist.errors import DatasetError
from deemo_dist.records import Annotation
from deemo_dist.storage import Store


def by_key(keys: list[str]) -> ByKey[Annotation]:
    return ByKey(Rows(Annotation, pa.table({"key": pa.array(keys, pa.string())}), "a table"))


@given(
    st.lists(st.integers(0, 60), unique=True), st.lists(st.integers(0, 60), unique=True), st.booleans(), st.booleans()
)
@settings(deadline=None)
def test_shared_keys_are_counted_part_by_part(one: list[int], two: list[int], first: bool, second: bool) -> None:
    """Whatever the order of the rows."""
    sides = [[f"{number:02d}" for number in numbers] for numbers in (one, two)]
    tables = [by_key(sorted(keys) if ordered else keys) for keys, ordered in zip(sides, (first, second), strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlap, "CHUNK", 3)
        assert shared_keys(*tables) == shared_keys(*reversed(tables)) == len(set(one) & set(two))


def test_a_version_beside_its_source_is_refused(made: Any, store: Store) -> None:
    clips = made.clips(12)
    made.dataset(store, plan_units(clips[:8], 4000))
    made.dataset(store, plan_units(clips[8:], 4000), name="more")
    made.dataset(store, plan_units(clips[:8], 4000), name="other")
    merge(store, [("demo", "v1"), ("more", "v1")], ("all", "v1"))
    names = ("demo", "v1"), ("more", "v1"), ("all", "v1"), ("other", "v1")
    datasets = {f"{name}/{version}": open_dataset(store, name, version) for name, version in names}
    with pytest.raises(DatasetError, match=r"demo/v1 and all/v1 of the mix hold 8 samples both.* - leave one out"):
        refuse_shared_samples({name: datasets[name] for name in ("demo/v1", "all/v1")})
    with pytest.raises(DatasetError, match=r"more/v1 and all/v1 of the mix hold 4 samples"):
        refuse_shared_samples({name: datasets[name] for name in ("other/v1", "more/v1", "all/v1")})
    refuse_shared_samples({name: datasets[name] for name in ("demo/v1", "more/v1", "other/v1")})  # keys of other names
