"""``deemo run``: the whole chain, in one process's care. Each part skips what is done."""

from collections.abc import Sequence

from deemo_dist.config import load
from pipelines.evaluate import EvaluationResult, run_evaluate
from pipelines.preprocess import run_preprocess
from pipelines.train import run_train


def run_chain(run: str, overrides: Sequence[str]) -> EvaluationResult:
    """Preprocess, train, evaluate."""
    config = load(run, list(overrides))
    run_preprocess(config)
    run_train(run, overrides)
    return run_evaluate(config)
