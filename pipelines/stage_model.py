"""The model of a stage without values: what plans, checks and counts look at."""

from collections.abc import Mapping
from itertools import takewhile
from typing import TYPE_CHECKING

from deemo_dist.config import RunConfig, TrainRule

if TYPE_CHECKING:
    from torch import nn


def stage_model(config: RunConfig, name: str) -> "nn.Module":
    """The run's model without values, in training mode, with the adapters of this stage and those before it, its
    parameters frozen or not as in the stage."""
    from deemo_dist.planning.train.sizes import empty_model
    from deemo_dist.training import apply_rules

    model = empty_model(config.model, precision=config.engine.precision)
    apply_rules(model, config.stages[name].trains, before=rules_before(config, name))
    return model.train()


def rules_before(config: RunConfig, name: str) -> list[Mapping[str, TrainRule]]:
    """What the stages before it train, whose adapters it finds."""
    earlier = takewhile(lambda item: item[0] != name, config.stages.items())
    return [stage.trains for _, stage in earlier]
