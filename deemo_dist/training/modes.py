"""Which modules are in training mode: those that train. Frozen parts work as they do after training: no dropout, no
statistics of the batch."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def train_mode(model: nn.Module) -> None:
    """Training mode for what trains or holds something that trains, evaluation mode for what is frozen.

    A frozen layer that recomputes its activations (gradient checkpointing) does so in training mode alone: it keeps
    it where it has no dropout of its own, so that gradients which flow through it cost no more memory.
    """
    model.train()
    _freeze(model)


def batch_statistics(model: nn.Module) -> list[str]:
    """Names of the modules that would take statistics over a batch while the model trains."""
    return [name for name, module in model.named_modules() if isinstance(module, _BatchNorm) and _trains(module)]


def _freeze(module: nn.Module) -> None:
    for child in module.children():
        if _trains(child):
            _freeze(child)
        elif any(True for _ in child.parameters()) or isinstance(child, _BatchNorm):
            child.eval()
            for layer in child.modules():
                if getattr(layer, "gradient_checkpointing", False) and not _own_dropout(layer):
                    layer.training = True


def _trains(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def _own_dropout(layer: nn.Module) -> bool:
    """Whether a layer itself, not a module of it, drops something: transformers keeps the chances as numbers."""
    return any(isinstance(value, float) and value > 0 for name, value in vars(layer).items() if "drop" in name)
