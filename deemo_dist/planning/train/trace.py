"""What a model costs by unit: the operations and the kept bytes of a clip, a window of sound, a clip's body cues, a
token and a label, counted on the model's own modules by one pass over each, on the meta device.

Nothing here knows an architecture: frozen parts, adapters and any encoder of transformers are counted as they would
run. Products are counted by torch's own formulas (``torch.utils.flop_counter``).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from deemo_dist.planning.train.symbolic import META, Symbolic

PROBE_SEGMENTS, PROBE_TOKENS, PROBE_LABELS = 2, 64, 16
FP32 = 4


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One unit of a kind of work.

    Operations: ``forward``, ``backward`` (what the gradients that are asked for need, nothing recomputed),
    ``recompute`` (what gradient checkpointing does again). Bytes kept for the backward pass: ``saved``; with gradient
    checkpointing ``saved_checkpointed``, and ``layer``, the most that one recomputed layer keeps for a while.
    """

    forward: float = 0.0
    backward: float = 0.0
    recompute: float = 0.0
    saved: float = 0.0
    saved_checkpointed: float = 0.0
    layer: float = 0.0

    def times(self, count: float) -> "Unit":
        """``count`` of them."""
        return Unit(**{name: value * count for name, value in vars(self).items()})

    def plus(self, other: "Unit") -> "Unit":
        """Both, one after the other: the larger layer counts."""
        total = {name: value + getattr(other, name) for name, value in vars(self).items()}
        return Unit(**{**total, "layer": max(self.layer, other.layer)})


@dataclass(frozen=True, kw_only=True)
class Costs:
    """A model's units. ``pair``: a token seen by a token of its segment; ``label``: a position whose logits are
    computed, its logits and their gradients included. A clip has ``frames`` frames."""

    frames: int
    clip: Unit
    window: Unit
    cue: Unit
    token: Unit
    pair: Unit
    label: Unit


@dataclass
class _Seen:
    """What one probe saw; of gradient checkpointing's layers apart."""

    forward: float = 0.0
    backward: float = 0.0
    saved: float = 0.0
    layer_forward: float = 0.0
    layer_saved: float = 0.0
    layer_inputs: float = 0.0
    layer_largest: float = 0.0
    storages: set[int] = field(default_factory=set)


class Counter(TorchDispatchMode):
    """Operations of products, summed into ``add``."""

    def __init__(self, add: Callable[[float], None]) -> None:
        super().__init__()
        self.add = add

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.add(float(count(*args, **(kwargs or {}), out_val=out)))
        return out


class _Probe:
    """Runs a piece of the model forward and backward, and sees what it costs."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.held = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
        self.held |= {buffer.untyped_storage()._cdata for buffer in model.buffers()}
        self.layers = _checkpointed_layers(model)

    def run(self, piece: Callable[[], Tensor]) -> tuple[_Seen, Symbolic]:
        """``piece()`` forward, then backward from its result where that asks for gradients."""
        seen, inside, symbolic = _Seen(), _Inside(), Symbolic(PROBE_LABELS)
        kept: list[Tensor] = []

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in self.held and storage._cdata not in seen.storages:
                seen.storages.add(storage._cdata)
                kept.append(tensor)
                seen.saved += storage.nbytes()
                inside.saved += storage.nbytes()
            return tensor

        def forward(operations: float) -> None:
            seen.forward += operations
            inside.operations += operations

        with symbolic, self._layers(seen, inside, symbolic), saved_tensors_hooks(keep, lambda tensor: tensor):
            with Counter(forward):
                out = piece()
            if out.requires_grad:
                with Counter(lambda operations: setattr(seen, "backward", seen.backward + operations)):
                    out.backward(torch.empty_like(out))
        return seen, symbolic

    @contextmanager
    def _layers(self, seen: _Seen, inside: "_Inside", symbolic: Symbolic) -> Iterator[None]:
        """Watch the layers that gradient checkpointing recomputes."""

        def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            inside.operations, inside.saved, inside.scores = 0.0, 0.0, symbolic.scores.forward
            given = args[0] if args else kwargs.get("hidden_states")
            inside.given = float(given.untyped_storage().nbytes()) if isinstance(given, Tensor) else 0.0

        def leave(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            if isinstance(first, Tensor) and first.requires_grad:
                seen.layer_forward += inside.operations + symbolic.scores.forward - inside.scores
                seen.layer_saved += inside.saved
                seen.layer_inputs += inside.given
                seen.layer_largest = max(seen.layer_largest, inside.saved)

        handles = [layer.register_forward_pre_hook(enter, with_kwargs=True) for layer in self.layers]
        handles += [layer.register_forward_hook(leave) for layer in self.layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


@dataclass
class _Inside:
    """Of the layer that is running."""

    operations: float = 0.0
    saved: float = 0.0
    scores: float = 0.0
    given: float = 0.0


def _checkpointed_layers(model: nn.Module) -> list[nn.Module]:
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


def measure(model: Any) -> Costs:
    """The units of a DEEMO-LLaMA whose parameters are on the meta device, as ``requires_grad`` of each says.

    Seconds for 70 billion parameters. Raises ``ModelError`` where a module's work depends on values.
    """
    probe = _Probe(model)
    media = model.config.media_shape
    floats = next(parameter.dtype for parameter in model.parameters() if parameter.is_floating_point())

    def empty(*shape: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.empty(*shape, dtype=dtype or floats, device=META)

    side, cues = media.image_size, (media.cue_frames, media.cue_keypoints, 3)
    clip, clip_grads = _unit(
        probe, lambda: model.video_embeddings(empty(1, media.frames, 3, side, side), empty(1, media.frames))
    )
    window, window_grads = _unit(probe, lambda: model.audio_embeddings(empty(1, *media.null_audio_shape()), empty(1)))
    cue, cue_grads = _unit(probe, lambda: model.cue_embeddings(empty(1, *cues), empty(1, media.cue_frames)))
    embedding = model.get_input_embeddings().weight.requires_grad
    token, pair, grads = _language(model, probe, empty, wanted=clip_grads or window_grads or cue_grads or embedding)
    label = _label(model, probe, empty, grads)
    return Costs(frames=media.frames, clip=clip, window=window, cue=cue, token=token, pair=pair, label=label)


def _unit(probe: _Probe, piece: Callable[[], Tensor]) -> tuple[Unit, bool]:
    """A unit of one call, its attention included, and whether its result carries gradients."""
    results: list[bool] = []

    def run() -> Tensor:
        out = piece()
        results.append(out.requires_grad)
        return out

    seen, symbolic = probe.run(run)
    return _of(seen, forward=symbolic.scores.forward, backward=symbolic.scores.backward), results[0]


def _language(model: Any, probe: _Probe, empty: Callable[..., Tensor], *, wanted: bool) -> tuple[Unit, Unit, bool]:
    """A token, a pair of tokens, and whether gradients flow into the head. ``wanted``: they flow into the language
    model's input (from a projector that trains, or the token embeddings)."""
    length = PROBE_TOKENS
    total = PROBE_SEGMENTS * length
    bounds = torch.arange(0, total + 1, length, dtype=torch.int32)
    results: list[bool] = []

    def run() -> Tensor:
        embeds = empty(1, total, model.config.text_config.hidden_size).requires_grad_(wanted)
        hidden = model.language_model.base_model(
            inputs_embeds=embeds,
            position_ids=empty(1, total, dtype=torch.long),
            use_cache=False,
            deemo_attention="varlen",
            cu_seq_lens_q=bounds,
            cu_seq_lens_k=bounds,
            max_length_q=length,
            max_length_k=length,
        ).last_hidden_state
        results.append(hidden.requires_grad)
        return hidden

    seen, symbolic = probe.run(run)
    scores = symbolic.scores
    pairs = PROBE_SEGMENTS * length**2
    recomputed = scores.forward if seen.layer_forward else 0.0
    pair = Unit(forward=scores.forward / pairs, backward=scores.backward / pairs, recompute=recomputed / pairs)
    whole = _of(seen, forward=0.0, backward=0.0, recomputed=-recomputed)
    return whole.times(1 / total), pair, results[0]


def _label(model: Any, probe: _Probe, empty: Callable[..., Tensor], grads: bool) -> Unit:
    """A position with a label: the head, its logits in the working precision and in fp32, and the gradients of both."""
    from deemo_dist.model.loss import loss_over

    hidden_size = model.config.text_config.hidden_size
    head = model.get_output_embeddings()

    def run() -> Tensor:
        hidden = empty(1, PROBE_LABELS, hidden_size).requires_grad_(grads)
        loss, _ = loss_over(empty(1, PROBE_LABELS, dtype=torch.long), lambda rows, _: head(hidden[0, rows]), 1.0)
        return loss

    seen, _ = probe.run(run)
    unit = _of(seen, forward=0.0, backward=0.0).times(1 / PROBE_LABELS)
    gradients = (FP32 + head.weight.element_size()) * model.config.text_config.vocab_size
    return Unit(**{**vars(unit), "layer": gradients})


def _of(seen: _Seen, *, forward: float, backward: float, recomputed: float = 0.0) -> Unit:
    """A unit of what was seen; ``forward`` and ``backward``: attention's scores, which torch's formulas do not see."""
    return Unit(
        forward=seen.forward + forward,
        backward=seen.backward + backward,
        recompute=seen.layer_forward + recomputed,
        saved=seen.saved,
        saved_checkpointed=seen.saved - seen.layer_saved + seen.layer_inputs,
        layer=seen.layer_largest,
    )
