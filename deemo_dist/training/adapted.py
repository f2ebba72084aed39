"""Which layers get an adapter in a stage, and which the stages of a chain leave behind. Pure."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from torch import nn

from deemo_dist.config import TrainRule
from deemo_dist.errors import TrainingError
from deemo_dist.records.adapters import AdapterShape, adapted_layer


def last_match(name: str, rules: Mapping[str, TrainRule]) -> str | None:
    """The pattern that decides over a parameter: the last that matches its plain name."""
    return next((pattern for pattern in reversed(list(rules)) if fnmatchcase(name, pattern)), None)


def plan_adapters(model: nn.Module, rules: Mapping[str, TrainRule]) -> dict[str, AdapterShape]:
    """The linear layers whose weight a rule of mode ``lora`` decides over, and which its ``targets`` name.

    The output head and the inner projections of ``nn.MultiheadAttention`` (read past their modules) never get one.
    Raises ``TrainingError`` for sizes that cannot be, and for a rule that no linear layer answers to.
    """
    wanted = {pattern: rule for pattern, rule in rules.items() if rule.mode == "lora"}
    shapes: dict[str, AdapterShape] = {}
    for pattern, rule in wanted.items():
        if rule.rank < 1 or rule.alpha <= 0 or not 0 <= rule.dropout < 1:
            raise TrainingError(
                f"the adapter of '{pattern}' has rank {rule.rank}, alpha {rule.alpha:g}, dropout {rule.dropout:g}",
                hint="rank from 1, alpha above 0, dropout from 0 to below 1",
            )
        own = [
            name
            for name in _linear_layers(model)
            if last_match(f"{name}.weight", rules) == pattern and _is_target(name, rule.targets)
        ]
        if not own:
            raise TrainingError(
                f"the pattern '{pattern}' with targets {', '.join(rule.targets)} matches no linear layer to adapt",
                hint="give targets by the last part of a layer's name, such as q_proj, or * for all",
            )
        shape = AdapterShape(rank=rule.rank, alpha=rule.alpha, dropout=rule.dropout)
        shapes |= dict.fromkeys(own, shape)
    return shapes


def join_shapes(model: nn.Module, stages: Iterable[Mapping[str, TrainRule]]) -> dict[str, AdapterShape]:
    """The adapters that the stages of a chain, in order, leave behind. Raises ``TrainingError`` where a later stage
    wants another rank or alpha for a layer than the one it takes over."""
    shapes: dict[str, AdapterShape] = {}
    for rules in stages:
        for name, shape in plan_adapters(model, rules).items():
            before = shapes.setdefault(name, shape)
            if (before.rank, before.alpha) != (shape.rank, shape.alpha):
                raise TrainingError(
                    f"{name} has an adapter of rank {before.rank}, alpha {before.alpha:g} from an earlier stage, and "
                    f"is to get rank {shape.rank}, alpha {shape.alpha:g}",
                    hint="give the stages the same rank and alpha",
                )
            shapes[name] = shape
    return shapes


def _linear_layers(model: nn.Module) -> list[str]:
    """Names of the linear layers that may have an adapter (or have one)."""
    heads = getattr(model, "get_output_embeddings", lambda: None)()
    closed = {
        id(child) for module in model.modules() if isinstance(module, nn.MultiheadAttention)
        for child in module.children()
    }  # fmt: skip
    found = []
    for name, module in model.named_modules():
        if name.endswith(".base_layer") or adapted_layer(f"{name}.") is not None:
            continue
        linear = getattr(module, "base_layer", module)
        if isinstance(linear, nn.Linear) and linear is not heads and id(module) not in closed:
            found.append(name)
    return found


def _is_target(name: str, targets: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, target) or fnmatchcase(name.rpartition(".")[2], target) for target in targets)
