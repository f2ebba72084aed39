"""What the work cost: sums over receipts, in no digest."""

from dataclasses import replace
from typing import Any

import pytest

from deemo_dist.dataset import dataset_digest, plan_units
from deemo_dist.dataset.costs import total_costs


def test_costs_are_sums_and_rejections_by_stage(made: Any) -> None:
    units = plan_units(made.clips(6), 3000)
    bad = units[0].clips[0].uri
    receipts = [made.receipt(unit, {bad})[0] for unit in units]
    figures = {"seconds": 2.5, "seconds.decode": 0.5, "cpu_seconds.decode": 0.25, "bytes.decode": 1e6}
    receipts = [replace(receipt, statistics=figures) for receipt in receipts]
    costs = total_costs(receipts)
    count = len(units)
    assert count > 1
    stage = next(row.stage for row in receipts[0].ledger if row.status == "rejected")
    assert costs == {
        "clips": 6.0,
        "seconds": pytest.approx(2.5 * count),
        "seconds.decode": pytest.approx(0.5 * count),
        "cpu_seconds.decode": pytest.approx(0.25 * count),
        "bytes.decode": pytest.approx(1e6 * count),
        f"rejected.{stage}": 1.0,
    }
    assert dataset_digest(receipts) == dataset_digest([replace(receipt, statistics={}) for receipt in receipts])


def test_no_receipts_cost_nothing() -> None:
    assert total_costs([]) == {}
