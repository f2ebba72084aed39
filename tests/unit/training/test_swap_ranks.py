"""Real ZeRO-3 ranks whose optimizer's state is on a disk: the numbers are those of memory, to the end of every road."""

from pathlib import Path

import pytest
import torch

from deemo_dist.config import StorageConfig
from deemo_dist.storage import open_store
from deemo_dist.training import finished, read_full_state

pytestmark = pytest.mark.slow

KEY = "a" * 64
HIDDEN = 12_001
"""Wide enough for a share of each weight to be swapped, and of a size that leaves the next one at an odd place."""
TRAINS = {
    "*projector*": {"lr": 1e-2, "weight_decay": 0.1},
    "*projector.2*": {"lr": 2e-3, "weight_decay": 0.01},
    "*language_model*": {"lr": 1e-3},
}
"""The two weights are in groups of their own."""
TOGETHER = {"*projector*": {"lr": 1e-2, "weight_decay": 0.1}, "*language_model*": {"lr": 1e-3}}
ONE_SUB_GROUP = {"zero_optimization": {"sub_group_size": 10**9}}


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


@pytest.fixture
def wide(ranks):
    """A job of the wide model, its optimizer in memory."""

    def run(count, name="wide", **plan):
        return ranks(count, name, **{"hidden": HIDDEN, "trains": TRAINS, **plan})

    return run


@pytest.fixture
def swapped(wide, disk):
    """The same, with its optimizer on the disk."""

    def run(count, name="swapped", **plan):
        return wide(count, name, **{"offload": "nvme", "nvme_path": str(disk), **plan})

    return run


def final_state(job):
    store = open_store(StorageConfig(root=f"file://{job.folder}/store"))
    _, commit = finished(store, "runs/r/s", KEY)
    return read_full_state(store, commit)


def assert_close(job, other, tolerance=1e-5):
    mine, theirs = job.losses(), other.losses()
    assert len(mine) == len(theirs) == 8
    assert max(abs(a - b) / abs(b) for a, b in zip(mine, theirs, strict=True)) < tolerance


def assert_same_state(job, other):
    mine, theirs = final_state(job), final_state(other)
    assert mine.keys() == theirs.keys()
    assert all(torch.allclose(mine[name], theirs[name], rtol=1e-4, atol=1e-6) for name in theirs)


def swap_files(disk):
    """What lies on the disk, by kind."""
    names = [path.name.rpartition("-")[0] for path in disk.rglob("*.swp")]
    return sorted(name or "fp32" for name in names)


@pytest.mark.parametrize(
    "plan",
    [{}, {"trains": TOGETHER, "deepspeed": ONE_SUB_GROUP, "unused": True}],
    ids=["groups of their own", "one group, with a part that gets no gradient"],
)
def test_the_losses_and_weights_are_those_of_memory_and_nothing_stays_on_the_disk(wide, swapped, disk, plan):
    whole = wide(2, **plan)
    assert whole.codes == [0, 0], whole.output()
    job = swapped(2, **plan)
    assert job.codes == [0, 0], job.output() + job.output(1)
    assert_close(job, whole)
    assert any(step["norm"] > 1 for step in job.steps().values())  # clipped
    assert job.steps()[0]["parts"] == pytest.approx(whole.steps()[0]["parts"], rel=1e-5)
    assert [step["lr"] for step in job.steps().values()] == [step["lr"] for step in whole.steps().values()]
    assert_same_state(job, whole)
    assert list(disk.iterdir()) == []


def test_kill_9_and_a_resumption_end_with_the_same_bits_and_remove_what_was_left(swapped, disk):
    whole = swapped(2, "whole")
    assert whole.codes == [0, 0], whole.output()
    assert swapped(2, "killed", kill_step=5, every=2).codes == [-9, -9]
    assert len(list(disk.glob("deemo-swap-rank*"))) == 2
    assert swap_files(disk) == 4 * ["exp_avg"] + 4 * ["exp_avg_sq"] + 4 * ["fp32"]  # two ranks, two weights
    job = swapped(2, "killed", every=2, partition_at_build=True)
    assert job.codes == [0, 0], job.output() + job.output(1)
    assert [row["start"] for row in job.rows() if "start" in row] == [0, 4]
    assert job.hexes() == whole.hexes()
    assert list(disk.iterdir()) == []


def test_one_rank_and_then_memory_go_on_from_what_two_ranks_had_on_the_disk(wide, swapped, disk):
    whole = wide(2)
    assert swapped(2, "moved", term_step=2).codes == [75, 75]
    assert swapped(1, "moved", term_step=4).codes == [75]
    assert list(disk.iterdir()) == []
    job = wide(2, "moved")
    assert job.codes == [0, 0], job.output()
    assert [row["start"] for row in job.rows() if "start" in row] == [0, 4, 6]
    assert_close(job, whole)
    assert_same_state(job, whole)


def test_updates_that_are_left_out_and_a_way_back_are_those_of_memory(wide, swapped):
    plan = {"poison_steps": [1, 6, 7, 8, 9, 10, 11], "steps": 14, "every": 2, "trains": TOGETHER}
    whole = wide(2, **plan)
    assert whole.codes == [0, 0], whole.output()
    job = swapped(2, **plan)
    assert job.codes == [0, 0], job.output() + job.output(1)
    assert "back to the checkpoint at step" in job.output()
    mine, theirs = job.steps(), whole.steps()
    assert {step: row["skipped"] for step, row in mine.items()} == {s: row["skipped"] for s, row in theirs.items()}
    finite = [step for step, row in theirs.items() if not row["skipped"]]
    assert len(finite) == 7
    assert [mine[step]["loss"] for step in finite] == pytest.approx([theirs[step]["loss"] for step in finite], rel=1e-5)
    assert_same_state(job, whole)


def test_bf16_goes_on_with_the_same_bits(swapped):
    plan = {"precision": "bf16", "steps": 3, "packs": 2}
    whole = swapped(2, "whole", **plan)
    assert whole.codes == [0, 0], whole.output()
    assert swapped(2, "bf16", **plan, term_step=0).codes == [75, 75]
    job = swapped(2, "bf16", **plan)
    assert job.codes == [0, 0], job.output()
    assert [row["start"] for row in job.rows() if "start" in row] == [0, 2]
    assert job.hexes() == whole.hexes()


def test_the_state_is_not_in_memory_and_a_stage_that_has_ended_leaves_nothing(wide, swapped, disk):
    """Twenty million parameters in sixteen weights: 154 MB of moments, 230 MB of the snapshot."""
    plan = {"hidden": 25_000, "blocks": 8, "steps": 2, "every": 1, "watch": True}
    whole = wide(1, **plan)
    assert whole.codes == [0], whole.output()
    job = swapped(1, **plan, stages=["a", "b"], left=True)
    assert job.codes == [0], job.output()
    assert [job.rows(stage)[-1]["left"] for stage in ("a", "b")] == [[], []]
    held = [
        next(row["held"] for row in each.rows(stage) if "held" in row) for each, stage in ((job, "a"), (whole, "s"))
    ]
    assert 0 < held[0] < held[1] - 300_000_000, held
    assert list(disk.iterdir()) == []


def test_what_cannot_be_swapped_to_is_refused_on_every_rank_in_one_line(swapped, disk):
    job = swapped(2, "nowhere", nvme_path=str(disk / "missing"))
    assert job.codes == [1, 1]
    for rank in (0, 1):
        told = [line for line in job.output(rank).splitlines() if line.startswith("TrainingError")]
        assert len(told) == 1 and "is no folder of this machine - make it" in told[0]


def test_a_disk_that_is_lost_ends_the_run_and_the_same_command_goes_on(swapped, disk):
    job = swapped(1, "lost", lose_disk_step=4, every=2)
    assert job.codes == [1]
    told = [line for line in job.output().splitlines() if line.startswith("TrainingError")]
    assert len(told) == 1 and "cannot be swapped to" in told[0] and "go on from the last checkpoint" in told[0]
    disk.mkdir()
    job = swapped(1, "lost", every=2)
    assert job.codes == [0], job.output()
    assert [row["start"] for row in job.rows() if "start" in row] == [0, 4]


def test_the_real_model_with_a_medium_that_one_rank_lacks(ranks, disk):
    """Killed, built in partitions the second time, activations computed again."""
    llm = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4}
    trains = {"*_projector*": {"lr": 1e-3, "weight_decay": 0.1}, "language_model*": {"lr": 3e-4}}
    plan = {"real": {"llm": llm, "lacking": ["audio"]}, "trains": trains, "steps": 4, "packs": 2, "every": 1,
            "gradient_checkpointing": True}  # fmt: skip
    whole = ranks(2, "whole", **plan)
    assert whole.codes == [0, 0], whole.output()
    plan = {**plan, "offload": "nvme", "nvme_path": str(disk)}
    assert ranks(2, "real", **plan, kill_step=2).codes == [-9, -9]
    assert swap_files(disk).count("exp_avg") == swap_files(disk).count("fp32") > 10
    job = ranks(2, "real", **plan, partition_at_build=True)
    assert job.codes == [0, 0], job.output() + job.output(1)
    mine, theirs = job.losses(), whole.losses()
    assert len(mine) == len(theirs) == 4
    assert mine == pytest.approx(theirs, rel=1e-5)
    assert list(disk.iterdir()) == []
