"""Attention over packed sequences: one function, two kernels.

``varlen`` has flash-attn's contract (Dao 2023, https://github.com/Dao-AILab/flash-attention): flat tokens, int32
cumulative lengths, a causal mask aligned to the bottom right. On a GPU with flash-attn it *is* that kernel; elsewhere
each segment goes through PyTorch's SDPA, which is also the reference. Registered with transformers as
``deemo_varlen``, it serves packed training, padded batches and decoding with a cache alike, so no dense mask is ever
built.
"""

import importlib.util
import logging
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface

from deemo_dist.errors import ModelError
from deemo_dist.model.served import HINT, note_call

NAME = "deemo_varlen"
HALF = (torch.float16, torch.bfloat16)
STRANGE = ("s_aux", "sinks", "position_bias", "indices", "block_indices")
"""What an attention of another kind is given in transformers: sinks, biases, choices of keys."""
_logger = logging.getLogger(__name__)
Kernel = Callable[..., Tensor]


def causal_model(config: PreTrainedConfig) -> PreTrainedModel:
    """A language model of transformers that attends by this module. Raises ``ModelError`` for one that has classes of
    its own for the kinds of attention that it knows, and none for ours."""
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, attn_implementation=NAME)
    except KeyError as error:
        if error.args != (NAME,):
            raise
        what = f"a '{config.model_type}' language model attends by classes of its own and by no other function"
        raise ModelError(what, hint=HINT) from None
    return model


def varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seqlens_q: Tensor,
    max_seqlen_q: int,
    cu_seqlens_k: Tensor | None = None,
    max_seqlen_k: int | None = None,
    *,
    scale: float | None = None,
    dropout: float = 0.0,
    window: int | None = None,
    softcap: float | None = None,
    kernel: Kernel | None = None,
) -> Tensor:
    """Causal attention in each segment of a packed sequence.

    ``query`` [T, H, D], ``key`` and ``value`` [S, Hk, D] with Hk dividing H; ``cu_seqlens_*`` int32 [segments + 1]
    from 0. ``window``: a token sees at most that many, itself included; ``softcap``: scores stay below it (Gemma 2).
    ``kernel``: flash-attn's ``flash_attn_varlen_func``, None for SDPA; its backward pass adds up in a fixed order where
    torch is to be deterministic. Returns [T, H, D] in the query's dtype.
    """
    cu_seqlens_k = cu_seqlens_q if cu_seqlens_k is None else cu_seqlens_k
    max_seqlen_k = max_seqlen_q if max_seqlen_k is None else max_seqlen_k
    if kernel is None:
        options: dict[str, Any] = {"scale": scale, "dropout": dropout, "window": window, "softcap": softcap}
        return _per_segment(query, key, value, cu_seqlens_q, cu_seqlens_k, **options)
    half = value.dtype if value.dtype in HALF else torch.bfloat16  # a norm may have raised query and key
    out = kernel(
        query.to(half).contiguous(),
        key.to(half).contiguous(),
        value.to(half).contiguous(),
        cu_seqlens_q=cu_seqlens_q.to(torch.int32),
        cu_seqlens_k=cu_seqlens_k.to(torch.int32),
        max_seqlen_q=int(max_seqlen_q),
        max_seqlen_k=int(max_seqlen_k),
        dropout_p=dropout,
        softmax_scale=scale,
        causal=True,
        window_size=(-1, -1) if window is None else (window - 1, 0),
        deterministic=torch.are_deterministic_algorithms_enabled(),
        **({"softcap": softcap} if softcap else {}),
    )
    return out.to(query.dtype)


def _per_segment(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    *,
    scale: float | None,
    dropout: float,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """The reference: SDPA over one segment after the other."""
    starts_q, starts_k = cu_seqlens_q.tolist(), cu_seqlens_k.tolist()
    outputs = []
    for segment in range(len(starts_q) - 1):
        q = query[starts_q[segment] : starts_q[segment + 1]].transpose(0, 1).unsqueeze(0)
        k = key[starts_k[segment] : starts_k[segment + 1]].transpose(0, 1).unsqueeze(0)
        v = value[starts_k[segment] : starts_k[segment + 1]].transpose(0, 1).unsqueeze(0)
        mask = _segment_mask(q.shape[2], k.shape[2], window, q.device)
        causal = mask is None and q.shape[2] > 1
        attend: Callable[..., Tensor] = partial(_capped, softcap=softcap) if softcap else F.scaled_dot_product_attention
        out = attend(
            q,
            k,
            v,
            attn_mask=mask,
            dropout_p=dropout,
            is_causal=causal,
            scale=scale,
            enable_gqa=q.shape[1] != k.shape[1],
        )
        outputs.append(out.squeeze(0).transpose(0, 1))
    return torch.cat(outputs)


def _capped(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    attn_mask: Tensor | None,
    dropout_p: float,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
    softcap: float,
) -> Tensor:
    """SDPA's contract for square or masked scores, which go through ``softcap * tanh(score / softcap)``."""
    if enable_gqa:
        key, value = (tensor.repeat_interleave(query.shape[1] // key.shape[1], 1) for tensor in (key, value))
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
    scores = softcap * torch.tanh(scores / softcap)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    weights = torch.softmax(scores, -1, dtype=torch.float32).to(value.dtype)
    return F.dropout(weights, dropout_p) @ value


def _segment_mask(queries: int, keys: int, window: int | None, device: torch.device) -> Tensor | None:
    """What SDPA's own causal flag (aligned top left, no window) cannot say; None where it can or nothing is hidden."""
    windowed = window if window is not None and window < keys else None
    if windowed is None and queries in (1, keys):
        return None
    ahead = (
        torch.arange(queries, device=device)[:, None] + (keys - queries) - torch.arange(keys, device=device)[None, :]
    )
    return ahead >= 0 if windowed is None else (ahead >= 0) & (ahead < windowed)


@cache
def flash_kernel() -> Kernel | None:
    """flash-attn's varlen function, or None where it is not installed. Imported at the first call on a GPU."""
    if importlib.util.find_spec("flash_attn") is None:
        return None
    from flash_attn import flash_attn_varlen_func

    return flash_attn_varlen_func


@cache
def _say_fallback(why: str) -> None:
    _logger.warning(
        "%s: attention on this GPU runs segment by segment through PyTorch's SDPA, which is exact but slower", why
    )


def choose_kernel(device: torch.device, wanted: str = "auto", dtype: torch.dtype = torch.bfloat16) -> Kernel | None:
    """The kernel for ``device`` and ``dtype``: ``flash`` insists (``ModelError`` where it cannot be), ``varlen`` is
    SDPA, ``auto`` takes flash-attn on a GPU where it is installed and the precision is one of its own, and says so,
    once, where not."""
    if wanted == "varlen" or (wanted == "auto" and device.type != "cuda"):
        return None
    fits = dtype in HALF
    found = flash_kernel() if device.type == "cuda" and fits else None
    if found is None and wanted == "flash":
        raise ModelError(
            f"model.attention is 'flash', but flash-attn cannot run on {device.type} in {_said(dtype)} here",
            hint="pip install 'deemo-dist[gpu]' on a GPU node, engine.precision=bf16, or model.attention=auto",
        )
    if found is None:
        missing = "flash-attn is not installed (pip install 'deemo-dist[gpu]')"
        _say_fallback(missing if fits else f"flash-attn takes no {_said(dtype)} (engine.precision=bf16)")
    return found


def _said(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    deemo_attention: str = "auto",
    **others: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface. ``query`` [B, H, T, D], ``key``/``value`` [B, Hk, S, D]; returns [B, T, H, D].

    Packed when ``cu_seq_lens_q`` is given (B = 1). Otherwise ``attention_mask`` is a bool [B, S], False on padding, or
    None. Raises ``ModelError`` for a dense mask, for an attention of another kind (sinks, biases), and over a pack
    where the model does not say where its examples lie.
    """
    strange = next((name for name in STRANGE if others.get(name) is not None), None)
    if strange is not None:
        raise ModelError(
            f"the language model's attention has {strange}, which this one has not",
            hint="one without attention sinks, biases of positions or chosen keys",
        )
    note_call(told=cu_seq_lens_q is not None and max_length_q is not None, window=sliding_window is not None)
    kernel = choose_kernel(query.device, deemo_attention, value.dtype)
    rest: dict[str, Any] = {"scale": scaling, "dropout": dropout, "window": sliding_window, "softcap": softcap}
    rest["kernel"] = kernel
    q, k, v = (tensor.transpose(1, 2) for tensor in (query, key, value))
    if cu_seq_lens_q is not None and max_length_q is not None:
        return varlen(q[0], k[0], v[0], cu_seq_lens_q, max_length_q, **rest).unsqueeze(0), None
    if attention_mask is not None and attention_mask.dim() != 2:
        raise ModelError("attention over packs takes no dense mask", hint="pass a 2-D attention_mask, or cu_seqlens")
    return _padded(q, k, v, attention_mask, rest), None


def _padded(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, rest: dict[str, Any]) -> Tensor:
    """A batch [B, T, H, D] against [B, S, Hk, D], the queries being the last T positions: packed, attended,
    unpacked."""
    batch, steps = query.shape[:2]
    if mask is None:
        mask = torch.ones(batch, key.shape[1], dtype=torch.bool, device=query.device)
    mask = mask.bool()
    key, value = key[:, : mask.shape[1]], value[:, : mask.shape[1]]
    shown = mask[:, -steps:]
    cu_q, longest_q = _cumulative(shown)
    cu_k, longest_k = _cumulative(mask)
    out = torch.zeros_like(query)
    out[shown] = varlen(query[shown], key[mask], value[mask], cu_q, longest_q, cu_k, longest_k, **rest)
    return out


def _cumulative(mask: Tensor) -> tuple[Tensor, int]:
    """Cumulative int32 lengths of the rows of a mask, and the longest."""
    lengths = mask.sum(1, dtype=torch.int32)
    return F.pad(lengths.cumsum(0, dtype=torch.int32), (1, 0)), int(lengths.max())


def padding_mask(
    batch_size: int, q_length: int, kv_length: int, attention_mask: Tensor | None = None, **_: Any
) -> Tensor | None:
    """transformers' mask interface: the 2-D padding mask as it is, or None where nothing is padded; never a dense
    one."""
    if attention_mask is None or (attention_mask.shape[1] == kv_length and bool(attention_mask.all())):
        return None
    return attention_mask[:, -kv_length:]


def register() -> None:
    """Make ``deemo_varlen`` known to transformers. Harmless when repeated."""
    AttentionInterface.register(NAME, attention_forward)
    AttentionMaskInterface.register(NAME, padding_mask)
