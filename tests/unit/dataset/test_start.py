"""Large datasets: planned and begun in a moment, and in little memory."""

import statistics
import time

import pytest

from deemo_dist.dataset.layout import plan_key
from deemo_dist.storage import Store
from tests.bench.plane.memory import measured
from tests.large import make_large, start

pytestmark = pytest.mark.slow


def test_a_hundred_thousand_samples_begin_within_two_seconds(store: Store) -> None:
    """CPU time, of all threads: what others do on this machine does not count."""
    make_large(store, 100_000)
    plan, _, reads = start(store)
    assert len(reads) == 8 and all(reads)
    seconds = []
    for _ in range(3):
        store.delete(plan_key(plan.digest))
        began = time.process_time()
        again, _, found = start(store)
        seconds.append(time.process_time() - began)
        assert (again.digest, found) == (plan.digest, reads)
    assert statistics.median(seconds) < 2, seconds


def test_a_plan_needs_a_few_bytes_an_example() -> None:
    """By the kernel's own figure: 100 million examples at this rate, and what a process is before any, are within 1
    GiB. ``python -m tests.bench.plane.memory`` measures those."""
    few, many = measured(1_000_000), measured(10_000_000)
    rate = (many["peak"] - few["peak"]) / 9_000_000
    assert rate < 7.5
    assert few["peak"] + rate * 99_000_000 < 2**30
