"""The ways back of a stage, over real checkpoints: past what was undone, and what of it is damaged."""

import logging
from types import SimpleNamespace

import pytest
import torch

from deemo_dist.console import logger
from deemo_dist.errors import TrainingError
from deemo_dist.training.guard import IN_A_ROW, Guard
from deemo_dist.training.turns import Turns
from tests.unit.training.test_checkpoint import KEY, STAGE, alone, cut, save, state_of


class Engine:
    """Holds one state, as rank 0 of one."""

    def __init__(self) -> None:
        self.state = {
            name: {kind: torch.zeros_like(t) for kind, t in kinds.items()} for name, kinds in model(0).items()
        }
        self.updates = -1
        self.make_buffer = bytearray

    def fragments(self):
        return cut(self.state, 1, 0)

    def set_updates(self, updates: int) -> None:
        self.updates = updates

    def refresh(self) -> None:
        """Nothing else depends on the weights here."""


def model(seed: int):
    return state_of([30, 7], seed=seed)


def turns(store, engine: Engine, **tally: object) -> Turns:
    spec = SimpleNamespace(store=store, prefix=STAGE, stage_key=KEY, name="s")
    told = SimpleNamespace(**{"guard": Guard("s", spike=0.0), "best_step": None, "not_better": 3, **tally})
    return Turns(spec, engine, alone(), SimpleNamespace(settle=lambda: None), told)


def weights_of(engine: Engine) -> torch.Tensor:
    return torch.cat([kinds["fp32"].flatten() for kinds in engine.state.values()])


def row(guard: Guard, first: int) -> int:
    """A row of left-out updates from step ``first`` on; its last step."""
    for step in range(first, first + IN_A_ROW + 1):
        guard.count(step, float("nan"), applied=False)
    return first + IN_A_ROW


def test_a_second_row_does_not_lead_back_to_what_the_first_one_undid(store):
    """The weights at step 10 met the first row and are at fault; nothing was committed since when the second begins."""
    for step in (5, 10):
        save(store, model(step), world=1, step=step)
    engine = Engine()
    made = turns(store, engine)
    made.go_back(row(made.tally.guard, 10))
    made.go_back(row(made.tally.guard, 18))
    assert made.tally.guard.undone == [(5, 16), (5, 24)]
    assert engine.updates == 5
    assert torch.equal(weights_of(engine), torch.cat([kinds["fp32"].flatten() for kinds in model(5).values()]))


def test_a_damaged_best_checkpoint_ends_the_stage_with_its_last_weights(store, caplog: pytest.LogCaptureFixture):
    """It ended it with an error, at each start anew, and the advice to remove all checkpoints, whole ones too."""
    for step in (10, 20, 25):
        save(store, model(step), world=1, step=step)
    (part, *_) = [key for key in store.list(f"{STAGE}/checkpoints/00000010-0001/") if not key.endswith(".json")]
    store.put(part, store.get(part)[:-1])
    engine = Engine()
    with caplog.at_level(logging.WARNING, logger=logger.name):
        turns(store, engine, best_step=10).to_the_best(25)
    assert engine.updates == -1
    assert "the best weights, of step 10, were not saved or are damaged" in caplog.text
    turns(store, engine, best_step=20).to_the_best(25)
    assert engine.updates == 20


def test_a_row_whose_only_checkpoint_is_damaged_has_none_to_go_back_to(store):
    save(store, model(5), world=1, step=5)
    store.delete(f"{STAGE}/checkpoints/00000005-0001/rank-00000.json")
    made = turns(store, Engine())
    with pytest.raises(TrainingError, match="no checkpoint is from before them"):
        made.go_back(row(made.tally.guard, 10))
