"""Real ZeRO ranks over gloo, as processes: equality, resumption, interruption, faults."""

import gzip
import json
import random
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

from deemo_dist.config import StorageConfig
from deemo_dist.records.consumed import keys_digest
from deemo_dist.storage import open_store
from deemo_dist.training import commits, finished, lives_of, read_full_state, read_rows
from pipelines.curves import read_curve, read_result

pytestmark = pytest.mark.slow

KEY = "a" * 64
WORKER = Path(__file__).with_name("worker.py")
WATCHDOG, MARGIN = 8, 15
"""Seconds. The margin: the launcher's 5 s of grace, half a second for the stacks, and a busy machine."""


def launched(folder: Path, **plan: object) -> tuple[int, str]:
    """Two ranks as `deemo train` starts and ends them, in a process of its own; its code and what a person sees."""
    plan = {"out": str(folder), "store": f"file://{folder}/store", "steps": 8, **plan}
    (folder / "plan.json").write_text(json.dumps(plan))
    start = (
        "import sys; from deemo_dist.console import setup_logging; from deemo_dist.launch import run_ranks;"
        " setup_logging(); sys.exit(run_ranks(sys.argv[1:], ranks=2))"
    )
    command = [sys.executable, "-c", start, sys.executable, str(WORKER), str(folder / "plan.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


def store_of(job):
    return open_store(StorageConfig(root=f"file://{job.folder}/store"))


def assert_close(job, other, tolerance, stage="s", steps=8):
    mine, theirs = job.losses(), other.losses(stage)
    assert len(mine) == len(theirs) == steps
    assert max(abs(a - b) / abs(b) for a, b in zip(mine, theirs, strict=True)) < tolerance


def test_two_ranks_one_rank_and_a_bare_torch_loop_give_the_same_losses(ranks, undisturbed):
    bare = ranks(1, "bare", plain=True)
    assert bare.codes == [0], bare.output()
    alone = ranks(1, "alone")
    assert alone.codes == [0], alone.output()
    assert_close(undisturbed, bare, 1e-5, "plain")
    assert_close(alone, bare, 1e-5, "plain")
    assert undisturbed.losses()[-1] < 0.8 * undisturbed.losses()[0]


def assert_parts_make_the_whole(job):
    """The parts' gradients, whole, are the gradient that was clipped; utilisation is a share; packs are not full."""
    first = job.steps()[0]
    assert set(first["parts"]) == {"video_projector", "language_model"}
    assert sum(norm**2 for norm in first["parts"].values()) ** 0.5 == pytest.approx(first["norm"], rel=1e-5)
    assert not job.steps()[1]["parts"]
    assert all(0 < step["mfu"] < 1 and 0 < step["padding"] < 1 for step in job.steps().values())


def test_gradients_by_part_utilisation_and_padding_are_reported(undisturbed):
    assert_parts_make_the_whole(undisturbed)


def spoil_newest(store):
    """Change a file of the newest checkpoint; the steps of the commits before it."""
    newest, *older = [commit for _, commit in commits(store, "runs/r/s", KEY)]
    spoilt = [
        key
        for key in store.list(f"runs/r/s/checkpoints/{newest.step:08d}-{newest.attempt:04d}")
        if key.endswith("1-000.safetensors")
    ]
    store.put(spoilt[0], store.get(spoilt[0])[:-1] + b"?")
    return [commit.step for commit in older]


def test_kill_9_then_a_corrupt_newest_checkpoint_still_ends_with_the_same_bits(ranks, undisturbed):
    assert ranks(2, "killed", kill_step=5, every=2).codes == [-9, -9]
    job = ranks(2, "killed", steps=0, stages=[])
    store = store_of(job)
    older = spoil_newest(store)
    job = ranks(2, "killed", every=2)
    assert job.codes == [0, 0], job.output()
    assert [row["start"] for row in job.rows() if "start" in row] == [0, older[0]]
    assert "is skipped" in job.output()
    assert job.hexes() == undisturbed.hexes()
    assert "done already" in ranks(2, "killed").output()
    spoil_newest(store)
    job = ranks(2, "killed", every=2)
    assert job.codes == [0, 0], job.output()
    assert "trained again from an earlier checkpoint" in job.output() and "is skipped" in job.output(1)
    assert "does not match its digest" in job.output() + job.output(1)
    assert [row["start"] for row in job.rows() if "start" in row][2:] == [6]
    assert job.hexes() == undisturbed.hexes()
    refused = ranks(2, "killed", stage_key="b" * 64)
    assert refused.codes == [1, 1] and "another configuration" in refused.output(1)


def test_kill_9_at_a_random_step_ends_with_the_same_bits(ranks, undisturbed):
    seed = random.SystemRandom().randrange(10**6)
    step = random.Random(seed).randrange(8)
    print(f"seed {seed}: killed at step {step}")
    assert ranks(2, "random", kill_step=step, every=2).codes == [-9, -9]
    job = ranks(2, "random", every=2)
    assert job.codes == [0, 0], job.output()
    assert job.hexes() == undisturbed.hexes()


def test_other_numbers_of_ranks_go_on_and_no_sample_is_fed_twice(ranks):
    """Twenty steps by two ranks, one, and two again. The rates are those of the optimizer's own groups."""
    whole = ranks(2, "whole", steps=20)
    assert whole.codes == [0, 0], whole.output()
    first = ranks(2, "elastic", steps=20, term_step=5)
    assert first.codes == [75, 75], first.output()
    assert "of 20 is committed" in first.output()
    assert ranks(1, "elastic", steps=20, term_step=12).codes == [75]
    last = ranks(2, "elastic", steps=20)
    assert last.codes == [0, 0], last.output()
    starts = [row["start"] for row in last.rows() if "start" in row]
    assert len(starts) == 3 and starts[0] == 0 and 5 < starts[1] <= 12 < starts[2]
    assert_close(last, whole, 1e-4, steps=20)
    for step, row in last.steps().items():
        assert row["lr"] == whole.steps()[step]["lr"]
        assert row["lr"]["*video_projector*"] == pytest.approx(10 * row["lr"]["*language_model*"])
    assert len({row["lr"]["*language_model*"] for row in last.steps().values()}) > 10
    assert fed(store_of(last)) == Counter(f"{step}-{number}" for step in range(20) for number in range(4))


def test_a_stop_that_is_heard_in_the_last_step_ends_the_stage_as_any_other(ranks):
    job = ranks(2, "at-the-end", steps=6, term_step=4)
    assert job.codes == [0, 0], job.output()
    assert [row["end"] for row in job.rows() if "end" in row] == [6]
    assert ranks(2, "at-the-end", steps=6).codes == [0, 0]


def fed(store):
    """How often each sample was fed, by the committed rows."""
    _, commit = finished(store, "runs/r/s", KEY)
    lives = lives_of(commit.state, commit.attempt)
    count = Counter()
    for row in read_rows(store, "runs/r/s"):
        if row.attempt == max(life for life in lives if life[1] <= row.step)[0]:
            own = [f"{row.step}-{number}" for number in range(row.rank, 4, row.world)]
            assert row.keys_digest == keys_digest(own)
            count.update(own)
    return count


def test_zero_2_resumes_and_agrees_with_zero_3(ranks, undisturbed):
    assert ranks(2, "zero2", zero_stage=2, term_step=2, deepspeed={}).codes == [75, 75]
    job = ranks(2, "zero2", zero_stage=2, deepspeed={})
    assert job.codes == [0, 0], job.output()
    assert_close(job, undisturbed, 1e-5)
    assert_parts_make_the_whole(job)


def test_stages_null_packs_validation_and_a_loss_that_is_not_finite(ranks):
    """Two equal stages in one process give the same bits. Rank 1 has a null pack in the last step."""
    plan = {"poison_steps": [3], "last_packs": 3, "validate_every": 4, "validation_sleep": 1.5, "dropout": 0.1}
    job = ranks(2, "busy", stages=["s", "t"], **plan)
    assert job.codes == [0, 0], job.output()
    for stage in ("s", "t"):
        steps = job.steps(stage)
        assert [step for step, row in steps.items() if row["skipped"]] == [3]
        assert [step for step, row in steps.items() if row["validation"] is not None] == [3, 7]
        assert steps[7]["loss"] < steps[0]["loss"] and steps[7]["validation"] < steps[3]["validation"]
        assert all(steps[step]["validation_seconds"] >= 3.0 > steps[step]["seconds"] for step in (3, 7))
        assert steps[6]["validation_seconds"] == 0.0
    assert job.hexes("s") == job.hexes("t")


def test_the_listeners_of_a_real_run_bear_a_loss_that_is_not_finite(ranks):
    """Log, MLflow and the curve beside the checkpoints; the curve stands when its checkpoint is committed."""
    plan = {"tracked": True, "poison_steps": [0, 3], "validate_every": 4, "every": 2}
    killed = ranks(2, "heard", kill_step=5, **plan)
    assert killed.codes == [-9, -9], killed.output()
    newest = next(iter(commits(store_of(killed), "runs/r/s", KEY)))[1].step
    assert len(read_curve(store_of(killed), "runs/r/s")) >= newest > 0
    job = ranks(2, "heard", **plan)
    assert job.codes == [0, 0], job.output()
    assert "step 4/8, loss inf" in killed.output() and "update skipped" in killed.output()
    assert "tracking: " not in job.output() + killed.output()
    losses = {row["step"]: row["loss"] for row in read_curve(store_of(job), "runs/r/s")}
    steps = {**killed.steps(), **job.steps()}
    assert losses == {step: None if row["skipped"] else row["loss"] for step, row in steps.items()}
    assert [step for step, loss in losses.items() if loss is None] == [0, 3]
    assert read_result(store_of(job), "runs/r/s")["first_loss"] == losses[1]


def test_divergence_is_bounded(ranks):
    job = ranks(1, "diverges", poison_steps=list(range(8)))
    assert job.codes == [1] and "6 updates in a row" in job.output()
    assert "and no checkpoint is from before them - lower the learning rate" in job.output()


def test_going_back_is_bounded_and_said(ranks):
    """Four rows of losses that are not finite, a checkpoint before each: back three times, and no more."""
    rows = [step for first in (4, 12, 20, 28) for step in range(first, first + 6)]
    job = ranks(1, "back", poison_steps=rows, steps=40, every=2)
    assert job.codes == [1]
    assert [f"back to the checkpoint at step {first - 2}, on" in job.output() for first in (4, 12, 20)] == [True] * 3
    last = "6 updates in a row up to step 33 were left out, after it went back 3 times"
    assert f"TrainingError: stage s diverges at step 33: {last} - lower the learning rate" in job.output()


def test_a_stop_within_a_row_of_left_out_updates_keeps_the_checkpoint_to_go_back_to(ranks):
    """Told to stop at step 6, in a row from step 4 on: its own checkpoint and the one at step 4 are the newest two, and
    neither serves to go back to."""
    plan = {"poison_steps": list(range(4, 10)), "steps": 14, "every": 2, "keep": 2}
    whole = ranks(1, "whole", **plan)
    assert whole.codes == [0], whole.output()
    assert ranks(1, "told", term_step=6, **plan).codes == [75]
    job = ranks(1, "told", **plan)
    assert job.codes == [0], job.output()
    assert "back to the checkpoint at step 2, on with step 10" in job.output()
    assert job.hexes() == whole.hexes()


def test_spikes_are_left_out_and_too_many_of_them_undone_on_both_ranks(ranks):
    """A spike at step 18 is left out; those from 21 on are a row. The checkpoint at step 21 holds the weights that met
    the first of them, so that it is back to the one at step 18, and on with step 27. Killed after that and resumed at
    the checkpoint from before it, the same is decided again."""
    plan = {"steps": 30, "boost_steps": [18, *range(21, 27)], "every": 3}
    whole = ranks(2, "spikes", **plan)
    assert whole.codes == [0, 0], whole.output()
    assert [step for step, row in whole.steps().items() if row["skipped"]] == [18, *range(21, 27)]
    assert {18, 21} <= {row["commit"] for row in whole.rows() if "commit" in row}
    assert "back to the checkpoint at step 18, on with step 27" in whole.output()
    assert ranks(2, "spiked", kill_step=27, **plan).codes == [-9, -9]
    again = ranks(2, "spiked", **plan)
    assert again.codes == [0, 0], again.output()
    assert again.hexes() == whole.hexes()
    _, commit = finished(store_of(again), "runs/r/s", KEY)
    assert commit.state["undone"] == [[18, 27]] and commit.state["skipped"] == 7


def test_a_stage_ends_early_with_its_best_weights(ranks):
    """A learning rate this high makes the validation loss worse soon."""
    rules = {"*language_model*": {"lr": 1.0}}
    job = ranks(2, "early", steps=40, validate_every=2, early_stop=3, every=5, trains=rules)
    assert job.codes == [0, 0], job.output()
    _, commit = finished(store_of(job), "runs/r/s", KEY)
    told = {step + 1: row["validation"] for step, row in job.steps().items() if row["validation"] is not None}
    best = min(told, key=told.get)
    assert commit.step == best + 3 * 2 < 40 and commit.state["best_step"] == best
    kept = dict(commits(store_of(job), "runs/r/s", KEY))
    best_commit = next(each for each in kept.values() if each.step == best)
    mine, theirs = (read_full_state(store_of(job), each) for each in (commit, best_commit))
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert "done already" in ranks(2, "early", steps=40, validate_every=2, early_stop=3, trains=rules).output()


def test_an_early_stop_without_validation_is_refused(ranks):
    job = ranks(1, "never", early_stop=2)
    assert job.codes == [1] and "is never validated" in job.output()


def test_chosen_steps_leave_a_trace_of_each_rank(ranks, undisturbed):
    job = ranks(2, "traced", profile=[2])
    assert job.codes == [0, 0], job.output()
    assert job.hexes() == undisturbed.hexes()
    files = sorted(path.name for path in (job.folder / "profiles").iterdir())
    assert files == [f"s-step-000002-rank-{rank:05d}.json.gz" for rank in range(2)]
    with gzip.open(job.folder / "profiles" / files[0]) as file:
        names = {event.get("name") for event in json.load(file)["traceEvents"]}
    assert "aten::embedding" in names


def test_a_fenced_attempt_cannot_commit(ranks):
    job = ranks(1, "fenced", usurp_step=1, every=3)
    assert job.codes == [1] and "a later attempt has taken over" in job.output()
    assert list(commits(store_of(job), "runs/r/s", KEY)) == []


@pytest.mark.parametrize("rank", [0, 1])
def test_a_frozen_rank_is_named_and_nobody_waits_longer_than_the_watchdog(tmp_path, rank):
    """The launcher ends the frozen rank; each rank's stacks are in its file, the frozen one's too. The first rank is
    the one by whose store the others meet."""
    code, said = launched(tmp_path, hang_step=2, hang_how="stop", hang_rank=rank, watchdog=WATCHDOG)
    frozen = tmp_path / "frozen"
    assert code == 70, said
    assert time.time() - frozen.stat().st_mtime < WATCHDOG + MARGIN
    assert not Path("/proc", frozen.read_text()).exists()
    assert f"the slow rank is rank {rank}: no sign of life" in said
    # woken for its stacks, it may see that the other is gone, or that it was late itself, before it is killed
    assert re.search(rf"rank {rank} of 2 (was ended by SIGKILL|exited with (70|1)\b)", said), said
    assert f"these stacks are in {tmp_path}/stacks/rank-{1 - rank:05d}.txt" in said
    for each in range(2):
        stacks = (tmp_path / "stacks" / f"rank-{each:05d}.txt").read_text()
        assert "Thread 0x" in stacks and "worker.py" in stacks
    assert "in hang" in (tmp_path / "stacks" / f"rank-{rank:05d}.txt").read_text()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_stuck_in_its_data_is_named_by_all(ranks, rank):
    job = ranks(2, "stuck", hang_step=2, hang_rank=rank, watchdog=6)
    assert job.codes == [70, 70]
    assert f"rank {rank}: behind at step 2 (data)" in job.output(0)
    for each in range(2):
        assert "train_stage" in (job.folder / "stacks" / f"rank-{each:05d}.txt").read_text()


def test_a_rank_stuck_before_the_first_step_is_named_by_all(ranks):
    job = ranks(2, "unbuilt", hang_build="1", watchdog=6)
    assert job.codes == [70, 70], job.output()
    assert "rank 1: behind before the first step (stage s: building the model)" in job.output(0)


def test_a_save_slower_than_watchdog_and_collectives_is_waited_for(ranks, undisturbed):
    """Each file of rank 1 takes seconds, a whole save longer than either limit; the last one, too."""
    job = ranks(2, "slow", slow_put=2.5, watchdog=6, timeout=8, every=4)
    assert job.codes == [0, 0], job.output() + job.output(1)
    assert job.hexes() == undisturbed.hexes()
    files = [key for key in store_of(job).list("runs/r/s/checkpoints/00000008-0001") if "rank-00001" in key]
    assert len(files) * 2.5 > 8
    assert not list((job.folder / "stacks").iterdir())


def test_checkpoints_read_slower_than_watchdog_and_collectives_are_waited_for(ranks):
    """Rank 1 reads a parent for longer than either limit, when it is found whole and when it is laid over the model."""
    limits = {"watchdog": 6, "timeout": 5, "steps": 2}
    first = ranks(2, "read", stages=["a"], slow_get=0.0, **limits)
    assert first.codes == [0, 0], first.output() + first.output(1)
    files = [key for key in store_of(first).list("runs/r/a/checkpoints") if "-00001-" in key]
    job = ranks(2, "read", stages=["a", "b"], parents=["a"], slow_get=8 / len(files), **limits)
    assert job.codes == [0, 0], job.output() + job.output(1)
    assert "a: done already" in job.output() and job.steps("b")
    assert job.losses("b")[0] < first.losses("a")[0]


def test_a_save_that_stands_still_is_an_alarm(ranks):
    job = ranks(2, "stands", slow_put=600, watchdog=5, every=0, steps=2)
    assert job.codes == [70, 70], job.output() + job.output(1)
    assert "(checkpoint)" in job.output(0)


def test_a_dead_rank_ends_the_others_in_one_line(ranks):
    job = ranks(2, "dead", hang_step=2, hang_how="kill", hang_rank=1)
    assert job.codes == [1, -9]
    assert "TrainingError: stage s: another rank went away" in job.output(0)


def test_bf16_working_copies_are_refreshed_on_resumption(ranks):
    """The fp32 masters differ from the bf16 copies: a stale copy would show in the first loss after a resume."""
    whole = ranks(2, "whole", precision="bf16")
    assert whole.codes == [0, 0], whole.output()
    assert ranks(2, "bf16", precision="bf16", term_step=2).codes == [75, 75]
    job = ranks(2, "bf16", precision="bf16", partition_at_build=True)
    assert job.codes == [0, 0], job.output()
    assert job.hexes() == whole.hexes()


def test_a_model_built_in_partitions_with_offload_gives_the_same_losses(ranks, undisturbed):
    job = ranks(2, "partitioned", partition_at_build=True, offload="cpu")
    assert job.codes == [0, 0], job.output()
    assert_parts_make_the_whole(job)
    assert_close(job, undisturbed, 1e-5)


@pytest.mark.parametrize(("zero_stage", "cut"), [(2, False), (3, False), (3, True)])
def test_a_stage_that_has_ended_leaves_nothing_in_memory(ranks, zero_stage, cut):
    plan = {"zero_stage": zero_stage, "partition_at_build": cut, "validate_every": 1}
    job = ranks(1, **plan, steps=2, stages=["a", "b"], left=True)
    assert job.codes == [0], job.output()
    assert [job.rows(stage)[-1]["left"] for stage in ("a", "b")] == [[], []]
