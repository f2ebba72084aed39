import math

import numpy as np
import pytest
from hypothesis import given, settings
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


def test_one_hit_among_few_people_says_no_more_than_none() -> None:
    people = {str(person): [0.0] * 20 for person in range(6)}
    none = share(people)
    assert none.high == pytest.approx(exact_interval(0, 6)[1])
    assert share({**people, "0": [1.0] + [0.0] * 19}).high >= none.high


def test_few_clusters_tell_their_spread_badly() -> None:
    """The effective size of Korn and Graubard (1998), by hand: 240 draws in 12 clusters, 120 in as many."""
    few = share({str(person): [1.0] * 10 + [0.0] * 10 for person in range(12)})
    many = share({f"{clip}": [float(clip % 2)] for clip in range(120)})
    assert many.high == pytest.approx(exact_interval(59.5, 119)[1], abs=1e-6)
    worth = 240 * (1.96994 / 2.20099) ** 2
    assert few.high == pytest.approx(exact_interval(worth / 2, worth)[1], abs=1e-4)
    assert few.low == pytest.approx(exact_interval(worth / 2, worth)[0], abs=1e-4)


@settings(max_examples=300, deadline=None)
@given(GROUPS.filter(bool), st.data())
def test_one_more_hit_narrows_neither_bound(groups: dict[str, list[float]], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(groups)))
    place = data.draw(st.integers(0, len(groups[name]) - 1))
    hit, missed = (
        share({**groups, name: [*groups[name][:place], value, *groups[name][place + 1 :]]}) for value in (1.0, 0.0)
    )
    assert missed.high <= hit.high + 1e-9
    assert missed.low <= hit.low + 1e-9


@pytest.mark.parametrize(("people", "clips", "alike"), [(5, 4, 0.3), (8, 12, 0.3), (20, 12, 0.1), (60, 4, 0.3)])
def test_the_interval_holds_the_truth_as_often_as_it_says(people: int, clips: int, alike: float) -> None:
    random = np.random.default_rng(people)
    strength = (1 - alike) / alike
    held = 0
    for _ in range(300):
        own = random.beta(0.2 * strength, 0.8 * strength, people)
        found = share({str(person): random.binomial(1, own[person], clips).astype(float) for person in range(people)})
        held += found.low <= 0.2 <= found.high
    assert held / 300 >= 0.93


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
