"""What a model said about one sample, and how it is read. Nothing is guessed: an unclear answer is a failure."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_NEGATION = re.compile(r"(?:\b(?:not|no|never|neither|nor|without)|n['\u2019]t)\W+(?:\w+\W+){0,2}$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One sample's truth and answers.

    ``scores``: summed log-likelihood (nats) by choice; ``generated``: free text, None when none was asked for;
    ``modalities``: what the model was shown. ``key`` and ``subject_key`` are keyed hashes.
    """

    key: str
    subject_key: str
    truth: str
    scores: Mapping[str, float]
    generated: str | None = None
    subgroup: Mapping[str, str] = field(default_factory=dict)
    modalities: tuple[str, ...] = ()


def by_likelihood(prediction: Prediction) -> str | None:
    """The most likely choice; None when there are no finite scores or the best two are exactly equal."""
    scores = prediction.scores
    if not scores or not all(math.isfinite(score) for score in scores.values()):
        return None
    best = max(scores.values())
    winners = [choice for choice, score in scores.items() if score == best]
    return winners[0] if len(winners) == 1 else None


def by_generation(prediction: Prediction) -> str | None:
    """The choice that the generated text names; None when it names none, several, or negates one."""
    return parse_answer(prediction.generated or "", tuple(prediction.scores))


def parse_answer(text: str, choices: Sequence[str]) -> str | None:
    """The one choice that ``text`` names as whole words, in any case; None for none, several or a negated one.

    A choice inside a longer one that is named (``calm`` in ``very calm``) does not count by itself.
    """
    named: set[str] = set()
    taken: list[tuple[int, int]] = []
    for choice in sorted(choices, key=len, reverse=True):
        words = r"\s+".join(re.escape(word) for word in choice.split())
        for match in re.finditer(rf"(?<!\w){words}(?!\w)", text, re.IGNORECASE):
            if any(start <= match.start() < end for start, end in taken):
                continue
            if _NEGATION.search(text[: match.start()]):
                return None
            taken.append(match.span())
            named.add(choice)
    return named.pop() if len(named) == 1 else None
