"""What trains in a stage: patterns over parameter names -> frozen, or trained in full at a rate of their own."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from deemo_dist.config import TrainRule
from deemo_dist.errors import TrainingError


@dataclass(frozen=True, kw_only=True)
class Group:
    """One group of the optimizer: ``label`` (its pattern) is how its learning rate is reported. Vectors (biases, norms)
    of a rule with weight decay form a group of their own, without it."""

    label: str
    lr: float
    weight_decay: float
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Trainable:
    """The optimizer's groups of a stage, and how many elements each pattern trains."""

    groups: tuple[Group, ...]
    counts: dict[str, int]
    total: int

    @property
    def trainable(self) -> int:
        """Elements that train."""
        return sum(self.counts.values())

    def summary(self) -> dict[str, int]:
        """Elements by pattern, then ``trainable`` and ``total``."""
        return {**self.counts, "trainable": self.trainable, "total": self.total}


def apply_rules(model: nn.Module, rules: Mapping[str, TrainRule]) -> Trainable:
    """Set ``requires_grad`` of every parameter by the last pattern that matches its name; no match is frozen.

    Raises ``TrainingError`` for a pattern that matches no parameter, and when nothing would train.
    """
    parameters = dict(model.named_parameters())
    for pattern in rules:
        if not any(fnmatchcase(name, pattern) for name in parameters):
            raise TrainingError(
                f"the pattern '{pattern}' matches no parameter of the model",
                hint=f"its parts are {', '.join(_parts(parameters))}",
            )
    matched = {name: _last_match(name, rules) for name in parameters}
    for name, parameter in parameters.items():
        rule = matched[name]
        parameter.requires_grad_(rule is not None and rules[rule].mode != "frozen")
    names: dict[str, list[str]] = {
        pattern: [name for name in parameters if matched[name] == pattern]
        for pattern, rule in rules.items()
        if rule.mode != "frozen"
    }
    if not any(names.values()):
        raise TrainingError("nothing would train in this stage", hint="give stages.NAME.trains a pattern that trains")
    return Trainable(
        groups=tuple(
            group for pattern, own in names.items() for group in _groups(pattern, rules[pattern], own, parameters)
        ),
        counts={pattern: sum(size_of(parameters[name]) for name in own) for pattern, own in names.items() if own},
        total=sum(size_of(parameter) for parameter in parameters.values()),
    )


def shape_of(parameter: nn.Parameter) -> tuple[int, ...]:
    """Shape of the whole parameter, partitioned or not."""
    return tuple(getattr(parameter, "ds_shape", parameter.shape))


def size_of(parameter: nn.Parameter) -> int:
    """Elements of the whole parameter, partitioned or not."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def _last_match(name: str, rules: Mapping[str, TrainRule]) -> str | None:
    return next((pattern for pattern in reversed(list(rules)) if fnmatchcase(name, pattern)), None)


def _groups(pattern: str, rule: TrainRule, names: list[str], parameters: Mapping[str, nn.Parameter]) -> list[Group]:
    """A rule's groups: matrices with its weight decay, vectors without."""
    vectors = [name for name in names if rule.weight_decay and len(shape_of(parameters[name])) < 2]
    others = [name for name in names if name not in set(vectors)]
    cut = ((pattern, rule.weight_decay, others), (f"{pattern} (no decay)", 0.0, vectors))
    return [Group(label=label, lr=rule.lr, weight_decay=decay, names=tuple(own)) for label, decay, own in cut if own]


def _parts(parameters: Mapping[str, nn.Parameter]) -> list[str]:
    """First components of the parameter names (under a leading ``model.``)."""
    return sorted({name.removeprefix("model.").split(".")[0] for name in parameters})
