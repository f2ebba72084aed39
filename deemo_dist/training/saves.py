"""The checkpoints of a stage as its loop sees them: when one is due, and who hears of it."""

from collections.abc import Sequence

from deemo_dist.training.checkpoint.saver import Saver
from deemo_dist.training.engine import Engine
from deemo_dist.training.ranks import Ranks
from deemo_dist.training.spec import CommitInfo, StageSpec
from deemo_dist.training.tally import Tally


class Saves:
    """Every method but ``due`` and ``flags`` is called by all ranks in one order; each commit that stands is told to
    the tally and to the listeners."""

    def __init__(self, spec: StageSpec, engine: Engine, ranks: Ranks, saver: Saver, tally: Tally) -> None:
        self.spec = spec
        self.engine = engine
        self.ranks = ranks
        self.saver = saver
        self.tally = tally

    def due(self, done: int) -> bool:
        """At every ``checkpoint_every`` steps, and where the validation loss is the best so far; not while updates are
        left out one after another: what may be bad is not kept."""
        every = self.spec.engine.checkpoint_every
        return not self.tally.guard.in_a_row and ((every > 0 and done % every == 0) or self.tally.best_step == done)

    def flags(self) -> list[float]:
        """This rank's word on the save in flight, for the step's all-reduce."""
        return self.saver.flags()

    def advance(self, flags: Sequence[float]) -> None:
        """Take the flags of all ranks, summed. Raises ``CheckpointError`` when fenced or after several failures."""
        self._tell(self.saver.advance(flags))

    def begin(self, done: int, *, final: bool = False) -> None:
        """Start to save the state after ``done`` steps; it waits for a save in flight."""
        self.ranks.progress.during("checkpoint")
        self._tell(self.saver.begin(self.ranks, done, self.tally.state(self.engine.updates), final=final))

    def settle(self) -> CommitInfo | None:
        """Wait until nothing is in flight; the commit that this brought, if any."""
        commit = self.saver.settle(self.ranks)
        self._tell(commit)
        return commit

    def now(self, done: int, *, final: bool) -> CommitInfo:
        """Save and wait for the commit; once more when a try failed. Raises ``CheckpointError`` after several."""
        commit = None
        while commit is None:
            self.begin(done, final=final)
            commit = self.settle()
        return commit

    def _tell(self, commit: CommitInfo | None) -> None:
        if commit is None:
            return
        self.tally.committed = commit
        for callback in self.spec.callbacks:
            callback.on_checkpoint(commit)
