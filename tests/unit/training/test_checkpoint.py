"""Checkpoints without an engine: plain tensors cut over make-believe worlds, in a real store."""

import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load

from deemo_dist.config import StorageConfig
from deemo_dist.environ import Placement
from deemo_dist.errors import CheckpointError, CorruptDataError, ModelError
from deemo_dist.storage import Store, open_store
from deemo_dist.training import (
    commits,
    discard,
    finished,
    finished_whole,
    load_trained,
    read_full_state,
    state_digest,
    take_attempt,
)
from deemo_dist.training.checkpoint.commit import commit_keys, put_commit, read_commit, step_of
from deemo_dist.training.checkpoint.layout import (
    CONTENT,
    KINDS,
    Fragment,
    commit_from_json,
    overlap,
    partition,
    to_json,
)
from deemo_dist.training.checkpoint.restore import restore
from deemo_dist.training.checkpoint.saver import FLAGS, Saver, Target
from deemo_dist.training.checkpoint.snapshot import LocalFragment, Snapshot
from deemo_dist.training.ranks import Ranks
from deemo_dist.training.swap.folder import SwapFolder

RUN, STAGE, KEY = "runs/r", "runs/r/s", "k" * 64
State = dict[str, dict[str, torch.Tensor]]


def alone() -> Ranks:
    place = Placement(rank=0, world=1, local_rank=0, launcher="single", master_addr="127.0.0.1", master_port=0)
    return Ranks(place, torch.device("cpu"))


def state_of(sizes: list[int], seed: int = 0) -> State:
    generator = torch.Generator().manual_seed(seed)
    return {f"p{n}": {kind: torch.randn(size, generator=generator) for kind in KINDS} for n, size in enumerate(sizes)}


def cut(state: State, world: int, rank: int) -> list[LocalFragment]:
    return [local(state, name, *partition(kinds["fp32"].numel(), world, rank)) for name, kinds in state.items()]


def local(state: State, name: str, offset: int, count: int) -> LocalFragment:
    def view(kind: str) -> torch.Tensor:
        return state[name][kind][offset : offset + count]

    def write(kind: str, tensor: torch.Tensor) -> None:
        view(kind).copy_(tensor)

    shape = (state[name]["fp32"].numel(),)
    piece = Fragment(name=name, offset=offset, numel=count, shape=shape, group=0)
    return LocalFragment(fragment=piece, read=view, write=write)


def save(store: Store, state: State, *, world: int, step: int, attempt: int = 1, keep: int = 9, final: bool = False,
         **told: object):  # fmt: skip
    """What the ranks of a world do at a step, in one process: the flags are summed by hand."""
    savers = []
    for rank in range(world):
        target = Target(store=store, run_prefix=RUN, prefix=STAGE, stage_key=KEY, attempt=attempt, rank=rank,
                        world=world, keep=keep, extra={"plan": "d"})  # fmt: skip
        savers.append(Saver(target, Snapshot(cut(state, world, rank), part_bytes=200)))
    for saver in savers:
        saver.begin(alone(), step, {"updates": step, **told}, final=final)
    infos = [None]
    while None in infos:
        for saver in savers:
            if saver.job is not None:
                saver.job.exception()
        flags = [saver.flags() for saver in savers]
        sums = [sum(flag[n] for flag in flags) for n in range(FLAGS)]
        infos = [saver.advance(sums) for saver in savers]
    for saver in savers:
        saver.close()
    return infos[0]


def restored(store: Store, sizes: list[int], world: int) -> tuple[State, int]:
    """Every rank of ``world`` restores its own cut of an empty state."""
    state = {
        name: {kind: torch.full_like(t, 9.0) for kind, t in kinds.items()} for name, kinds in state_of(sizes).items()
    }
    steps = set()
    for rank in range(world):
        found = restore(cut(state, world, rank), store, STAGE, KEY, alone())
        steps.add(found[1].step if found else 0)
    assert len(steps) == 1
    return state, steps.pop()


def same(left: State, right: State) -> bool:
    return all(torch.equal(left[name][kind], right[name][kind]) for name in left for kind in KINDS)


@given(st.integers(0, 5000), st.integers(1, 64))
def test_partitions_cover_every_element_once(numel, world):
    ranges = [partition(numel, world, rank) for rank in range(world)]
    assert [n for start, count in ranges for n in range(start, start + count)] == list(range(numel))


@given(*[st.integers(0, 40)] * 4)
def test_overlap_is_the_intersection(a, m, b, n):
    start, count = overlap(a, m, b, n)
    assert set(range(start, start + count)) == set(range(a, a + m)) & set(range(b, b + n))


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=5), st.integers(1, 5), st.integers(1, 5))
def test_any_world_reads_what_any_world_wrote(sizes, before, after):
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(StorageConfig(root=f"file://{folder}/s"))
        state = state_of(sizes)
        save(store, state, world=before, step=4)
        found, step = restored(store, sizes, after)
        assert step == 4 and same(found, state)
        full = read_full_state(store, next(iter(commits(store, STAGE, KEY)))[1])
        assert all(torch.equal(full[name], state[name]["fp32"]) for name in state)


def test_parts_are_plain_safetensors_of_bounded_size():
    state = state_of([10, 20, 30])
    snapshot = Snapshot(cut(state, 1, 0), part_bytes=20 * 4 * 3)
    snapshot.fill()
    assert [[piece.name for piece in part.fragments] for part in snapshot.parts] == [["p0"], ["p1"], ["p2"]]
    tensors = load(bytes(snapshot.parts[1].data))
    assert all(torch.equal(tensors[f"p1/{kind}"], state["p1"][kind]) for kind in KINDS)


def test_a_snapshot_does_not_see_what_comes_after(store):
    state = state_of([50])
    snapshot = Snapshot(cut(state, 1, 0))
    snapshot.fill()
    before = bytes(snapshot.parts[0].data)
    state["p0"]["fp32"].add_(1)
    assert bytes(snapshot.parts[0].data) == before


def test_corrupt_newest_falls_back_and_says_so(store, caplog):
    state = state_of([40, 8])
    save(store, state, world=2, step=3)
    save(store, state_of([40, 8], seed=1), world=2, step=6)
    key = next(key for key in store.list(f"{STAGE}/checkpoints/00000006-0001") if key.endswith(".safetensors"))
    data = bytearray(store.get(key))
    data[-1] ^= 1
    store.put(key, bytes(data))
    found, step = restored_with_one_log(store, caplog)
    assert step == 3 and same(found, state)
    assert "is skipped" in caplog.text and key in caplog.text


def restored_with_one_log(store, caplog):
    """A world of one reads every file, so it meets the corrupt one whichever rank wrote it."""
    caplog.set_level("WARNING", logger="deemo_dist")
    import logging

    logging.getLogger("deemo_dist").propagate = True
    return restored(store, [40, 8], 1)


@pytest.mark.parametrize("harm", ["cut", "gone", "receipt", "commit"])
def test_half_written_newest_falls_back(store, harm):
    save(store, state_of([30]), world=1, step=2)
    save(store, state_of([30], seed=1), world=1, step=4)
    part = f"{STAGE}/checkpoints/00000004-0001/rank-00000-000.safetensors"
    receipt = f"{STAGE}/checkpoints/00000004-0001/rank-00000.json"
    commit = f"{STAGE}/commits/00000004-0001.json"
    if harm == "gone":
        store.delete(part)
    else:
        key = {"cut": part, "receipt": receipt, "commit": commit}[harm]
        store.put(key, store.get(key)[:-20])
    assert restored(store, [30], 1)[1] == 2


def test_no_whole_checkpoint_is_an_error_and_none_at_all_is_not(store):
    assert restored(store, [30], 1)[1] == 0
    save(store, state_of([30]), world=1, step=2)
    store.delete(f"{STAGE}/checkpoints/00000002-0001/rank-00000.json")
    with pytest.raises(CheckpointError, match="none of the 1 checkpoints"):
        restored(store, [30], 1)


def test_another_stage_key_or_shape_is_refused(store):
    save(store, state_of([30]), world=1, step=2)
    with pytest.raises(CheckpointError, match="another configuration"):
        restore(cut(state_of([30]), 1, 0), store, STAGE, "x" * 64, alone())
    with pytest.raises(CheckpointError, match="shape"):
        restored(store, [31], 1)


def test_attempts_are_taken_once_each_and_fence_the_earlier(store):
    assert [take_attempt(store, RUN) for _ in range(3)] == [1, 2, 3]
    with pytest.raises(CheckpointError, match="later attempt"):
        save(store, state_of([5]), world=1, step=1, attempt=2)
    assert commit_keys(store, STAGE) == []
    save(store, state_of([5]), world=1, step=1, attempt=3)
    assert len(commit_keys(store, STAGE)) == 1


def test_a_commit_is_immutable(store):
    save(store, state_of([5]), world=1, step=1)
    commit = read_commit(store, commit_keys(store, STAGE)[0], KEY)
    assert put_commit(store, RUN, STAGE, commit) == commit_keys(store, STAGE)[0]
    with pytest.raises(CheckpointError, match="taken by another"):
        put_commit(store, RUN, STAGE, dataclasses.replace(commit, state={"updates": 99}))
    assert commit_from_json(to_json(commit), "here") == commit


def test_retention_keeps_the_newest_and_removes_the_rest_with_its_files(store):
    for step in (1, 2, 3, 4):
        save(store, state_of([5]), world=1, step=step, keep=2)
    assert [key[-18:] for key in commit_keys(store, STAGE)] == ["00000004-0001.json", "00000003-0001.json"]
    folders = {key.split("/")[-2] for key in store.list(f"{STAGE}/checkpoints/")}
    assert folders == {"00000003-0001", "00000004-0001"}


def test_retention_keeps_what_a_row_of_left_out_updates_would_go_back_to(store):
    """The checkpoint at step 4 holds the weights that met the first of them: the one to go back to is at step 2."""
    for step, row in ((1, 0), (2, 0), (4, 0), (6, 2), (8, 4)):
        save(store, state_of([5]), world=1, step=step, keep=2, skipped_in_a_row=row)
    assert [step_of(key) for key in commit_keys(store, STAGE)] == [8, 6, 2]
    save(store, state_of([5]), world=1, step=10, keep=2, skipped_in_a_row=0)
    assert [step_of(key) for key in commit_keys(store, STAGE)] == [10, 8]


def test_what_the_stage_went_back_over_takes_no_good_checkpoints_place(store):
    """It went from step 15 back to 5: the weights at 10 were at fault, and would be again what it goes back to."""
    for step in (5, 10):
        save(store, state_of([5]), world=1, step=step, keep=2)
    save(store, state_of([5]), world=1, step=20, keep=2, undone=[[5, 16]])
    assert [step_of(key) for key in commit_keys(store, STAGE)] == [20, 5]
    save(store, state_of([5]), world=1, step=22, keep=1, undone=[[5, 16]], skipped_in_a_row=2)
    assert [step_of(key) for key in commit_keys(store, STAGE)] == [22, 5]


def test_a_damaged_later_checkpoint_takes_no_other_one_s_place(store):
    """The one at step 30 could not be read: the stage went on from 20, the best one, and what it commits stays."""
    save(store, state_of([5]), world=1, step=20, keep=1, best_step=20)
    save(store, state_of([5]), world=1, step=30, keep=1, best_step=20)
    for step in (24, 28):
        save(store, state_of([5]), world=1, step=step, attempt=2, keep=1, best_step=20)
        assert [step_of(key) for key in commit_keys(store, STAGE)] == [30, step, 20]
    save(store, state_of([5]), world=1, step=32, attempt=2, keep=1, best_step=20)
    assert [step_of(key) for key in commit_keys(store, STAGE)] == [32, 20]


def test_the_way_back_passes_over_a_checkpoint_made_in_a_row_of_left_out_updates(store):
    save(store, state_of([5]), world=1, step=50)
    save(store, state_of([5]), world=1, step=63, skipped_in_a_row=3)
    mine, ranks = cut(state_of([5]), 1, 0), alone()
    assert restore(mine, store, STAGE, KEY, ranks, wanted=lambda step: step < 71)[1].step == 63
    assert restore(mine, store, STAGE, KEY, ranks, wanted=lambda step: step < 71, applied=True)[1].step == 50


def test_finished_only_with_a_final_commit(store):
    save(store, state_of([5]), world=1, step=1)
    assert finished(store, STAGE, KEY) is None
    save(store, state_of([5]), world=1, step=2, final=True)
    key, commit = finished(store, STAGE, KEY)
    assert commit.final and commit.step == 2 and key in commit_keys(store, STAGE)
    assert commit.extra == {"plan": "d", CONTENT: state_digest(commit)}


def test_the_same_state_is_known_whichever_attempt_saved_it(store):
    """And another is not; a commit of before content was kept stands for itself."""
    for attempt, seed in ((1, 0), (2, 0), (3, 1)):
        take_attempt(store, RUN)
        save(store, state_of([70, 5], seed=seed), world=2, step=attempt, attempt=attempt)
    third, second, first = (commit for _, commit in commits(store, STAGE, KEY))
    assert state_digest(first) == state_digest(second) != state_digest(third)
    old = [dataclasses.replace(commit, extra={}) for commit in (first, second)]
    assert state_digest(old[0]) != state_digest(old[1])


def test_a_stage_whose_checkpoints_are_let_go_of_has_none(store):
    save(store, state_of([5]), world=1, step=2, final=True)
    discard(store, STAGE)
    assert finished(store, STAGE, KEY) is None and store.list(STAGE) == []
    assert restored(store, [5], 1)[1] == 0


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"version": 1}', b'{"version": "x"}'])
def test_what_is_no_commit_is_corrupt(data):
    with pytest.raises(CorruptDataError):
        commit_from_json(data, "here")


def test_a_newer_format_is_refused():
    with pytest.raises(CheckpointError, match="format 99"):
        commit_from_json(b'{"version": 99}', "here")


def test_a_write_that_fails_is_told_and_the_next_one_works(store, tmp_path: Path):
    state = state_of([5])
    target = Target(store=store, run_prefix=RUN, prefix=STAGE, stage_key=KEY, attempt=1, rank=0, world=1, keep=2,
                    extra={})  # fmt: skip
    saver = Saver(target, Snapshot(cut(state, 1, 0)))
    root = tmp_path / "store" / STAGE
    root.parent.mkdir(parents=True)
    root.write_text("a file where a folder must be")
    saver.begin(alone(), 1, {})
    assert saver.settle(alone()) is None and saver.failures == 1
    root.unlink()
    saver.begin(alone(), 1, {})
    assert saver.settle(alone()).step == 1 and saver.failures == 0
    saver.close()


class Held(torch.nn.Module):
    def __init__(self, *sizes: int) -> None:
        super().__init__()
        for number, size in enumerate(sizes):
            self.register_parameter(f"p{number}", torch.nn.Parameter(torch.full((size,), 9.0)))


def test_a_model_takes_what_earlier_stages_trained_file_by_file(store):
    state = state_of([70, 1, 33])
    save(store, state, world=3, step=4, final=True)
    later = {"p2": state_of([33], seed=5)["p0"]}
    save(store, later, world=2, step=6, attempt=2)
    newest, first = (commit for _, commit in commits(store, STAGE, KEY))
    model = Held(70, 1, 33, 4)
    assert load_trained(model, store, [first, newest]) == {"p0", "p1", "p2"}
    assert torch.equal(model.p0, state["p0"]["fp32"]) and torch.equal(model.p2, later["p2"]["fp32"])
    assert model.p3.eq(9.0).all()
    with pytest.raises(ModelError, match="no parameter 'p2'"):
        load_trained(Held(70, 1), store, [first])
    with pytest.raises(ModelError, match=r"'p0' has shape \(70,\), the model wants \(71,\)"):
        load_trained(Held(71, 1, 33), store, [first])


def test_a_done_stage_whose_files_are_not_whole_is_not_done(store, caplog):
    save(store, state_of([70, 5]), world=2, step=4, final=True)
    assert finished_whole(store, STAGE, KEY, alone()) == finished(store, STAGE, KEY) is not None
    key = next(key for key in store.list(f"{STAGE}/checkpoints/") if key.endswith(".safetensors"))
    data = store.get(key)
    for spoilt in (data[:-1] + b"?", data[:-1], None):
        if spoilt is None:
            store.delete(key)
        else:
            store.put(key, spoilt)
        assert finished_whole(store, STAGE, KEY, alone()) is None
        assert "trained again from an earlier checkpoint" in caplog.text
        caplog.clear()


class Away:
    """A sub-group that is in memory only while it is opened; ``events`` tells of it."""

    def __init__(self, name: str, events: list[str]) -> None:
        self.name, self.events, self.here = name, events, False

    @contextmanager
    def opened(self, write: bool) -> Iterator[None]:
        self.here = True
        self.events.append(f"{self.name} {'written' if write else 'read'}")
        yield
        self.here = False

    def over(self, local: LocalFragment) -> LocalFragment:
        def read(kind: str) -> torch.Tensor:
            assert self.here
            return local.read(kind)

        def write(kind: str, tensor: torch.Tensor) -> None:
            assert self.here
            local.write(kind, tensor)

        return dataclasses.replace(local, read=read, write=write, opened=self.opened)


def test_sub_groups_are_brought_into_memory_one_after_another_to_be_saved_and_restored(
    store: Store, tmp_path: Path
) -> None:
    state, events = state_of([10, 20, 30, 40]), []
    a, b = Away("a", events), Away("b", events)
    whole = cut(state, 1, 0)
    locals_ = [a.over(whole[0]), a.over(whole[1]), whole[2], b.over(whole[3])]
    folder = SwapFolder(str(tmp_path), 0)
    target = Target(store=store, run_prefix=RUN, prefix=STAGE, stage_key=KEY, attempt=1, rank=0, world=1, keep=1,
                    extra={})  # fmt: skip
    saver = Saver(target, Snapshot(locals_, make=folder.buffer))
    saver.begin(alone(), 1, {"updates": 1}, final=True)
    saver.settle(alone())
    saver.close()
    assert events == ["a read", "b read"]
    _, commit = finished(store, STAGE, KEY)
    saved = read_full_state(store, commit)
    assert all(torch.equal(saved[name], kinds["fp32"]) for name, kinds in state.items())
    expected = {name: {kind: tensor.clone() for kind, tensor in kinds.items()} for name, kinds in state.items()}
    for kinds in state.values():
        for tensor in kinds.values():
            tensor.zero_()
    assert restore(locals_, store, STAGE, KEY, alone(), make=folder.buffer)
    assert events[2:] == ["a written", "b written"]
    assert all(torch.equal(state[name][kind], expected[name][kind]) for name in state for kind in KINDS)
    folder.remove()
