"""A stage's two ways back: to weights from before they went bad, and to the best ones when it ends early."""

from collections.abc import Callable

from deemo_dist.console import logger
from deemo_dist.training.checkpoint.layout import Commit
from deemo_dist.training.checkpoint.restore import NoneWholeError, restore
from deemo_dist.training.engine import Engine
from deemo_dist.training.ranks import Ranks
from deemo_dist.training.saves import Saves
from deemo_dist.training.spec import StageSpec
from deemo_dist.training.tally import Tally


class Turns:
    """Every method but ``enough`` is a collective."""

    def __init__(self, spec: StageSpec, engine: Engine, ranks: Ranks, saves: Saves, tally: Tally) -> None:
        self.spec = spec
        self.engine = engine
        self.ranks = ranks
        self.saves = saves
        self.tally = tally

    def go_back(self, step: int) -> None:
        """To the weights of the newest checkpoint from before the updates that were left out up to ``step``; the data
        go on. One made at the first of them holds the very weights that are at fault: no later update was applied. So
        may one that was made, at a stop, in an earlier such row, or in a stretch that the stage went back over before.

        Raises ``TrainingError`` without such a checkpoint, or when the stage has gone back too often.
        """
        self.ranks.progress.during("going back")
        self.saves.settle()
        guard = self.tally.guard
        commit = self._restored(lambda done: done < guard.first_left_out(step) and not guard.was_undone(done))
        kept = commit.state.get("recent_losses", []) if commit else []
        guard.undo(step, back_to=commit.step if commit else None, kept=kept)

    def enough(self, done: int) -> bool:
        """Whether the validation loss has not become better for as long as the stage allows."""
        patience = self.spec.stage.early_stop
        return 0 < patience <= self.tally.not_better and done < self.spec.total_steps

    def to_the_best(self, done: int) -> None:
        """To the best weights, for an end after ``done`` steps."""
        self.ranks.progress.during("early end")
        self.saves.settle()
        best = self.tally.best_step
        commit = self._restored(lambda steps: steps == best, applied=False) if best is not None else None
        if best is not None and commit is None:
            logger.warning(
                "%s: the best weights, of step %d, were not saved or are damaged: it ends with the last ones",
                self.spec.name,
                best,
            )
        logger.info(
            "%s: ends at step %d, %d validations brought nothing better; the weights are those of step %d",
            self.spec.name,
            done,
            self.tally.not_better,
            commit.step if commit else done,
        )

    def _restored(self, wanted: Callable[[int], bool], *, applied: bool = True) -> Commit | None:
        """The engine as the newest ``wanted`` commit (``applied``: one whose last update was) has it; None, and nothing
        done, without one that is whole."""
        spec, make = self.spec, self.engine.make_buffer
        where = (spec.store, spec.prefix, spec.stage_key, self.ranks)
        try:
            found = restore(self.engine.fragments(), *where, wanted=wanted, applied=applied, make=make)
        except NoneWholeError:
            return None  # each was told when it was skipped, and the stage has others to begin from
        if found is None:
            return None
        _, commit = found
        self.engine.set_updates(int(commit.state.get("updates", commit.step)))
        self.engine.refresh()
        return commit
