import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deemo_dist.deid.audit.statistics import exact_interval, share, upper_bound

GROUPS = st.dictionaries(st.integers(0, 9).map(str), st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=9))


def test_the_exact_interval_is_that_of_the_tables() -> None:
    low, high = exact_interval(2, 20)
    assert (low, high) == (pytest.approx(0.01235, abs=1e-4), pytest.approx(0.31698, abs=1e-4))
    assert exact_interval(0, 50) == (0.0, pytest.approx(0.07112, abs=1e-4))
    assert exact_interval(50, 50)[1] == 1.0
    assert exact_interval(0, 0) == (0.0, 1.0)


@given(GROUPS)
def test_the_interval_holds_the_share_and_lies_in_0_to_1(groups: dict[str, list[float]]) -> None:
    found = share(groups)
    assert found.count == sum(map(len, groups.values()))
    if not found.count:
        assert math.isnan(found.value)
        assert (found.low, found.high) == (0.0, 1.0)
    else:
        assert 0 <= found.low <= found.value <= found.high <= 1


def test_clips_of_one_person_that_agree_count_as_few() -> None:
    agreeing = share({str(person): [float(person % 2)] * 10 for person in range(8)})
    mixed = share({str(person): [0.0, 1.0] * 5 for person in range(8)})
    assert agreeing.value == mixed.value == 0.5
    assert agreeing.high - agreeing.low > 2 * (mixed.high - mixed.low)
    alone = share({"one": [0.0, 1.0] * 50})
    assert alone.high - alone.low > 0.9


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_where_all_agree_each_cluster_counts_once(value: float) -> None:
    found = share({str(clip): [value] * 18 for clip in range(240)})
    assert (found.count, found.value) == (4320, value)
    assert found.high - found.low == pytest.approx(exact_interval(0, 240)[1])
    uneven = share({"many": [value] * 900, "one": [value]})
    assert uneven.high - uneven.low == pytest.approx(exact_interval(0, 2)[1])


def test_the_bound_of_none_in_so_many() -> None:
    assert upper_bound(300) == pytest.approx(0.00994, abs=1e-4)
    assert upper_bound(0) == 1.0
