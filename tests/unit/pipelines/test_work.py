"""What preprocessing cost as text, and what its workers are told."""

from collections import Counter
from dataclasses import replace

import pytest

from deemo_dist.config import ExecutionConfig, RunConfig, StorageConfig
from pipelines.preprocess import _rough, _told
from pipelines.work import work_lines


def test_stages_stand_in_the_order_of_what_they_cost() -> None:
    figures = {
        "clips": 4.0,
        "seconds": 10.0,
        "seconds.faces": 6.0,
        "cpu_seconds.faces": 5.5,
        "seconds.decode": 2.0,
        "bytes.decode": 3e6,
        "seconds.voice": 0.0,
        "cpu_seconds.voice": 0.0,
        "rejected.fetch": 1.0,
    }
    assert work_lines(figures) == [
        "work         10.0 s of workers, 2.50 s a clip",
        "  stage         wall s     cpu s        MB  rejected",
        "  faces            6.0       5.5       0.0         0",
        "  decode           2.0       0.0       3.0         0",
        "  fetch            0.0       0.0       0.0         1",
    ]


def test_a_dataset_of_before_says_nothing_of_its_cost() -> None:
    assert work_lines({}) == []
    assert work_lines({"clips": 3.0}) == []


@pytest.mark.parametrize(
    ("workers", "tasks", "own", "told"), [(2, 1, 400.0, 400.0), (100, 1, 400.0, 30.0), (10, 30, 400.0, 10.0)]
)
def test_each_worker_has_its_share_of_the_requests(
    config: RunConfig, workers: int, tasks: int, own: float, told: float
) -> None:
    where = ExecutionConfig(workers=workers, tasks=tasks, requests_per_second=3000.0)
    storage = StorageConfig(requests_per_second=own)
    worker = _told(replace(config, execution=where, storage=storage))
    assert worker.storage.requests_per_second == told
    assert worker.data.manifest is None


def test_what_was_fetched_is_not_said_to_the_byte() -> None:
    fetched = Counter({"seconds.fetch": 1.5, "bytes.fetch": 12_345_678})
    assert _rough(fetched) == {"seconds.fetch": 1.5, "bytes.fetch": 12_000_000}
