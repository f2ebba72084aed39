"""What trains in a stage: patterns over parameter names -> frozen, trained in full, or adapted, at a rate of their
own."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from deemo_dist.config import TrainRule
from deemo_dist.errors import TrainingError
from deemo_dist.records.adapters import adapted_layer, plain_name
from deemo_dist.training.adapted import join_shapes, last_match
from deemo_dist.training.modes import batch_statistics


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


def apply_rules(
    model: nn.Module, rules: Mapping[str, TrainRule], *, before: Sequence[Mapping[str, TrainRule]] = ()
) -> Trainable:
    """Put adapters where this stage's rules and those of the stages ``before`` want them, and set ``requires_grad`` of
    every parameter by the last pattern that matches its name; no match is frozen. An adapter trains where the rule over
    its layer's weight is ``lora`` and targets it, and stays as it is otherwise. What its own class keeps fixed
    (Whisper's sinusoids) stays so, unless a pattern is its very name.

    Raises ``TrainingError`` for a pattern that matches no parameter or no layer to adapt, when nothing would train, and
    when a layer that takes statistics over the batch would.
    """
    plain = {plain_name(name) for name, _ in model.named_parameters() if adapted_layer(name) is None}
    for pattern in rules:
        if not any(fnmatchcase(name, pattern) for name in plain):
            raise TrainingError(
                f"the pattern '{pattern}' matches no parameter of the model",
                hint=f"its parts are {', '.join(_parts(plain))}",
            )
    fixed = _fixed(model)
    own = join_shapes(model, [rules])
    shapes = join_shapes(model, [*before, rules])
    if shapes:
        from deemo_dist.model.adapters import add_adapters

        add_adapters(model, shapes)
    parameters = dict(model.named_parameters())
    trained = {name: _trained_by(name, rules, own, fixed) for name in parameters}
    for name, parameter in parameters.items():
        parameter.requires_grad_(trained[name] is not None)
    names = {pattern: [name for name in parameters if trained[name] == pattern] for pattern in rules}
    if not any(names.values()):
        raise TrainingError("nothing would train in this stage", hint="give stages.NAME.trains a pattern that trains")
    statistics = batch_statistics(model)
    if statistics:
        raise TrainingError(
            f"{statistics[0]} takes statistics over a batch, which differ from rank to rank and are in no checkpoint",
            hint="freeze it, or take a tower with layer or group norms",
        )
    return Trainable(
        groups=tuple(
            group for pattern, found in names.items() for group in _groups(pattern, rules[pattern], found, parameters)
        ),
        counts={pattern: sum(size_of(parameters[name]) for name in found) for pattern, found in names.items() if found},
        total=sum(size_of(parameter) for parameter in parameters.values()),
    )


def _fixed(model: nn.Module) -> frozenset[str]:
    """Plain names of what asked for no gradient before any rule did."""
    found = (plain_name(name) for name, parameter in model.named_parameters() if not parameter.requires_grad)
    fixed: frozenset[str] = vars(model).setdefault("fixed_parameters", frozenset(found))
    return fixed


def _trained_by(
    name: str, rules: Mapping[str, TrainRule], adapters: Mapping[str, object], fixed: frozenset[str]
) -> str | None:
    """The pattern under which a parameter trains; None: it is frozen."""
    layer = adapted_layer(name)
    pattern = last_match(plain_name(name) if layer is None else f"{layer}.weight", rules)
    if pattern is None or (layer is None and plain_name(name) in fixed and pattern != plain_name(name)):
        return None
    trains = rules[pattern].mode == "full" if layer is None else rules[pattern].mode == "lora" and layer in adapters
    return pattern if trains else None


def shape_of(parameter: nn.Parameter) -> tuple[int, ...]:
    """Shape of the whole parameter, partitioned or not."""
    return tuple(getattr(parameter, "ds_shape", parameter.shape))


def size_of(parameter: nn.Parameter) -> int:
    """Elements of the whole parameter, partitioned or not."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def _groups(pattern: str, rule: TrainRule, names: list[str], parameters: Mapping[str, nn.Parameter]) -> list[Group]:
    """A rule's groups: matrices with its weight decay, vectors without."""
    vectors = [name for name in names if rule.weight_decay and len(shape_of(parameters[name])) < 2]
    others = [name for name in names if name not in set(vectors)]
    cut = ((pattern, rule.weight_decay, others), (f"{pattern} (no decay)", 0.0, vectors))
    return [Group(label=label, lr=rule.lr, weight_decay=decay, names=tuple(own)) for label, decay, own in cut if own]


def _parts(parameters: Iterable[str]) -> list[str]:
    """First components of the parameter names (under a leading ``model.``)."""
    return sorted({name.removeprefix("model.").split(".")[0] for name in parameters})
