"""Recognition: closed-set answers by label likelihood and by generation, judged apart."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from deemo_dist.errors import ModelError
from deemo_dist.evaluation.metrics import (
    Estimate,
    accuracy,
    confusions_by_subject,
    estimate,
    f1_by_class,
    macro_f1,
    weighted_f1,
)
from deemo_dist.evaluation.prediction import Prediction, by_generation, by_likelihood

Reader = Callable[[Prediction], str | None]


@dataclass(frozen=True, kw_only=True)
class Recognition:
    """Figures of one way of answering.

    ``confusion``: rows are truths, columns the choices and, last, answers that could not be read; ``parse_failures``
    is that column's sum (for likelihood: exact ties). ``chance_majority``: accuracy of always naming the most frequent
    truth; ``chance_uniform``: of drawing evenly. ``f1_by_choice`` in the order of ``choices``.
    """

    method: str
    choices: tuple[str, ...]
    samples: int
    subjects: int
    accuracy: Estimate
    weighted_f1: Estimate
    macro_f1: Estimate
    chance_majority: float
    chance_uniform: float
    parse_failures: int
    confusion: tuple[tuple[int, ...], ...]
    f1_by_choice: tuple[float, ...]


def counts_of(predictions: Sequence[Prediction], choices: Sequence[str], reader: Reader) -> np.ndarray:
    """Confusions by subject, int64 [S, C, C + 1]. Raises ``ModelError`` when a truth is none of the choices."""
    strange = sorted({item.truth for item in predictions} - set(choices))
    if strange:
        raise ModelError(
            f"{len(strange)} truths are none of the choices, such as '{strange[0]}'",
            hint=f"the task's choices are {', '.join(choices)}",
        )
    subjects = [item.subject_key for item in predictions]
    answers = [reader(item) for item in predictions]
    return confusions_by_subject([item.truth for item in predictions], answers, subjects, choices)


def recognise(
    predictions: Sequence[Prediction],
    choices: Sequence[str],
    *,
    method: str = "likelihood",
    resamples: int = 1000,
    seed: int = 0,
) -> Recognition:
    """Judge ``predictions`` by ``method`` (likelihood or generation).

    Raises ``ModelError`` without predictions, for an unknown method, and for a truth that is none of the choices.
    """
    if not predictions:
        raise ModelError("there is nothing to judge", hint="does the split hold samples with a label of this task?")
    if method not in READERS:
        raise ModelError(f"'{method}' is no way of answering", hint=f"one of {', '.join(READERS)}")
    counts = counts_of(predictions, choices, READERS[method])
    total = counts.sum(0)
    figures = {
        name: estimate(metric, counts, resamples=resamples, seed=seed)
        for name, metric in (("accuracy", accuracy), ("weighted_f1", weighted_f1), ("macro_f1", macro_f1))
    }
    return Recognition(
        method=method,
        choices=tuple(choices),
        samples=len(predictions),
        subjects=len(counts),
        chance_majority=float(total.sum(1).max() / total.sum()),
        chance_uniform=1.0 / len(choices),
        parse_failures=int(total[:, -1].sum()),
        confusion=tuple(tuple(int(cell) for cell in row) for row in total),
        f1_by_choice=tuple(float(figure) for figure in f1_by_class(total)),
        **figures,
    )


READERS: dict[str, Reader] = {"likelihood": by_likelihood, "generation": by_generation}
