import pytest
import torch
import torch.nn.functional as F

from deemo_dist.errors import ModelError
from deemo_dist.model import attention
from deemo_dist.model.attention import attention_forward, choose_kernel, varlen


def tensors(tokens: int, heads: int = 4, kv_heads: int = 2, width: int = 8, keys: int | None = None):
    generator = torch.Generator().manual_seed(0)
    make = lambda n, h: torch.randn(n, h, width, generator=generator)  # noqa: E731
    return make(tokens, heads), make(keys or tokens, kv_heads), make(keys or tokens, kv_heads)


def cumulative(*lengths: int) -> torch.Tensor:
    return torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)


def dense(q, k, v, cu_q, cu_k, scale=None, window=None, softcap=0.0):
    """All segments at once under one dense mask: a second way to the same numbers."""
    mask = torch.zeros(len(q), len(k), dtype=torch.bool)
    for (qa, qb), (ka, kb) in zip(cu_q.unfold(0, 2, 1).tolist(), cu_k.unfold(0, 2, 1).tolist(), strict=True):
        for i in range(qb - qa):
            last = i + (kb - ka) - (qb - qa)
            first = 0 if window is None else max(0, last - window + 1)
            mask[qa + i, ka + first : ka + last + 1] = True
    k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
    if softcap:
        scores = torch.einsum("qhd,khd->hqk", q, k) * (q.shape[-1] ** -0.5 if scale is None else scale)
        scores = (softcap * torch.tanh(scores / softcap)).masked_fill(~mask, -torch.inf)
        return torch.einsum("hqk,khd->qhd", scores.softmax(-1), v)
    out = F.scaled_dot_product_attention(*(t.transpose(0, 1)[None] for t in (q, k, v)), attn_mask=mask, scale=scale)
    return out[0].transpose(0, 1)


class FlashStandIn:
    """flash_attn_varlen_func's contract, checked, computed by the dense reference."""

    def __init__(self) -> None:
        self.calls: list[dict] = []
        self.softcaps: list[float] = []

    def __call__(self, q, k, v, *, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p, softmax_scale,
                 causal, window_size, deterministic, softcap=0.0):  # fmt: skip
        assert q.dtype == k.dtype == v.dtype and q.dtype in (torch.float16, torch.bfloat16)
        assert q.is_contiguous() and k.is_contiguous() and v.is_contiguous()
        assert q.dim() == k.dim() == v.dim() == 3 and k.shape == v.shape and q.shape[1] % k.shape[1] == 0
        assert cu_seqlens_q.dtype == cu_seqlens_k.dtype == torch.int32
        assert int(cu_seqlens_q[-1]) == len(q) and int(cu_seqlens_k[-1]) == len(k) and int(cu_seqlens_q[0]) == 0
        assert type(max_seqlen_q) is int and max_seqlen_q == int(cu_seqlens_q.diff().max())
        assert type(max_seqlen_k) is int and max_seqlen_k == int(cu_seqlens_k.diff().max())
        assert causal is True and dropout_p == 0.0
        assert type(softcap) is float
        self.calls.append({"window": window_size, "q": tuple(q.shape), "deterministic": deterministic})
        self.softcaps.append(softcap)
        window = None if window_size == (-1, -1) else window_size[0] + 1
        values = (q.float(), k.float(), v.float())
        return dense(*values, cu_seqlens_q, cu_seqlens_k, softmax_scale, window, softcap).to(q.dtype)


@pytest.mark.parametrize("window", [None, 3])
def test_segments_agree_with_a_dense_mask(window):
    q, k, v = tensors(17)
    cu = cumulative(5, 1, 11)
    assert torch.allclose(varlen(q, k, v, cu, 11, window=window), dense(q, k, v, cu, cu, window=window), atol=1e-6)


@pytest.mark.parametrize("window", [None, 4])
def test_fewer_queries_than_keys_are_aligned_to_the_end(window):
    q, k, v = tensors(6, keys=15)
    cu_q, cu_k = cumulative(1, 5), cumulative(6, 9)
    out = varlen(q, k, v, cu_q, 5, cu_k, 9, window=window)
    assert torch.allclose(out, dense(q, k, v, cu_q, cu_k, window=window), atol=1e-6)


def test_flash_kernel_is_called_by_its_contract():
    kernel = FlashStandIn()
    q, k, v = tensors(17)
    cu = cumulative(5, 1, 11).long()
    out = varlen(q, k, v, cu, 11, scale=0.3, window=4, kernel=kernel)
    assert out.dtype == q.dtype and kernel.calls == [{"window": (3, 0), "q": (17, 4, 8), "deterministic": False}]
    assert torch.allclose(out, varlen(q, k, v, cu, 11, scale=0.3, window=4), atol=3e-2)


def test_flash_adds_up_in_a_fixed_order_where_torch_is_to_be_deterministic():
    kernel = FlashStandIn()
    torch.use_deterministic_algorithms(True)
    try:
        varlen(*tensors(6), cumulative(6), 6, kernel=kernel)
    finally:
        torch.use_deterministic_algorithms(False)
    assert [call["deterministic"] for call in kernel.calls] == [True]


def test_a_whole_model_runs_through_the_flash_path(model, processor, loaded, monkeypatch):
    pack = processor.pack([loaded("a"), loaded("b", modalities=("audio",))])
    model.eval()
    expected = model(**pack).loss
    kernel = FlashStandIn()
    monkeypatch.setattr(attention, "choose_kernel", lambda *_: kernel)
    assert model(**pack).loss.item() == pytest.approx(expected.item(), rel=2e-2)
    assert len(kernel.calls) == model.config.text_config.num_hidden_layers
    prompt = processor.prompt([loaded("a"), loaded("b", modalities=("audio",))])
    assert model.generate(**prompt, max_new_tokens=2, do_sample=False).shape[1] == prompt["input_ids"].shape[1] + 2


@pytest.mark.parametrize("window", [None, 4])
def test_scores_are_capped_by_the_kernel_as_by_the_reference(window):
    kernel = FlashStandIn()
    q, k, v = tensors(17)
    q, cu = 9 * q, cumulative(5, 1, 11)
    capped = varlen(q, k, v, cu, 11, window=window, softcap=2.0, kernel=kernel)
    assert kernel.softcaps == [2.0]
    assert torch.allclose(capped, varlen(q, k, v, cu, 11, window=window, softcap=2.0), atol=3e-2)
    assert not torch.allclose(capped, varlen(q, k, v, cu, 11, window=window, kernel=kernel), atol=0.2)
    assert kernel.softcaps == [2.0, 0.0]


def gradients(model, pack):
    """The loss of a pack in training mode, and the gradient of everything that has one."""
    model.train()
    model.zero_grad()
    loss = model(**pack).loss
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("again", [False, True])
def test_a_whole_model_trains_through_the_flash_path(model, processor, loaded, monkeypatch, again):
    """Backward too, and with the layers recomputed: then the kernel is called twice a layer, for the same numbers."""
    pack = processor.pack([loaded("a"), loaded("b", modalities=("audio",))])
    expected, exact = gradients(model, pack)
    if again:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    kernel = FlashStandIn()
    monkeypatch.setattr(attention, "choose_kernel", lambda *_: kernel)
    loss, found = gradients(model, pack)
    assert loss == pytest.approx(expected, rel=2e-2)
    assert len(kernel.calls) == model.config.text_config.num_hidden_layers * (2 if again else 1)
    assert found.keys() == exact.keys()
    for name, gradient in found.items():
        scale = exact[name].norm() + 1e-3 * max(each.norm() for each in exact.values())
        assert (gradient - exact[name]).norm() < 0.1 * scale, name


@pytest.mark.parametrize("again", [False, True])
def test_examples_of_a_pack_see_nothing_of_each_other_through_the_flash_path(
    model, processor, loaded, monkeypatch, again
):
    """The first one's loss is the same to the bit whatever the second one is, and moves nothing of it."""
    kernel = FlashStandIn()
    monkeypatch.setattr(attention, "choose_kernel", lambda *_: kernel)
    if again:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    pack = processor.pack([loaded("a"), loaded("b")])
    ends = pack["cu_seqlens"].tolist()
    embeds = torch.randn(1, ends[-1], model.config.text_config.hidden_size).requires_grad_()
    words = {name: pack[name] for name in ("position_ids", "cu_seqlens", "max_seqlen")}
    other = embeds.detach().clone()
    other[:, ends[1] :] += 1.0
    logits, changed = (model(inputs_embeds=each, **words).logits for each in (embeds, other))
    assert torch.equal(logits[:, : ends[1]], changed[:, : ends[1]])
    assert not torch.equal(logits[:, ends[1] :], changed[:, ends[1] :])
    logits[:, : ends[1]].square().sum().backward()
    assert embeds.grad[:, : ends[1]].any() and not embeds.grad[:, ends[1] :].any()
    assert kernel.calls


def test_padded_batch_equals_each_row_alone():
    q, k, v = (torch.randn(2, heads, 6, 8, generator=torch.Generator().manual_seed(heads)) for heads in (4, 2, 3))
    v = k.flip(-1)
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    out, _ = attention_forward(torch.nn.Module(), q, k, v, mask)
    alone, _ = attention_forward(torch.nn.Module(), q[:1, :, 2:], k[:1, :, 2:], v[:1, :, 2:], None)
    assert torch.equal(out[0, 2:], alone[0]) and not out[0, :2].any()


def test_dense_mask_is_refused():
    q = torch.randn(1, 2, 3, 4)
    with pytest.raises(ModelError, match="dense mask"):
        attention_forward(torch.nn.Module(), q, q, q, torch.zeros(1, 1, 3, 3))


def test_kernel_choice(monkeypatch, caplog):
    gpu = torch.device("cuda")
    assert choose_kernel(torch.device("cpu")) is None and choose_kernel(gpu, "varlen") is None
    with pytest.raises(ModelError, match="flash-attn cannot run on cpu"):
        choose_kernel(torch.device("cpu"), "flash")
    monkeypatch.setattr(attention, "flash_kernel", lambda: None)
    attention._say_fallback.cache_clear()
    assert choose_kernel(gpu) is None and choose_kernel(gpu) is None
    assert [
        record.message for record in caplog.records if "flash-attn is not installed" in record.message
    ].__len__() == 1
    with pytest.raises(ModelError, match="flash-attn cannot run on cuda"):
        choose_kernel(gpu, "flash")
    kernel = FlashStandIn()
    monkeypatch.setattr(attention, "flash_kernel", lambda: kernel)
    assert choose_kernel(gpu) is kernel


def test_fp32_on_a_gpu_is_never_rounded_without_a_word(monkeypatch, caplog):
    gpu, kernel = torch.device("cuda"), FlashStandIn()
    monkeypatch.setattr(attention, "flash_kernel", lambda: kernel)
    attention._say_fallback.cache_clear()
    assert choose_kernel(gpu, "auto", torch.float32) is None and choose_kernel(gpu, "auto", torch.float32) is None
    assert [record.message for record in caplog.records if "takes no float32" in record.message].__len__() == 1
    with pytest.raises(ModelError, match="flash-attn cannot run on cuda in float32"):
        choose_kernel(gpu, "flash", torch.float32)
    assert choose_kernel(gpu, "flash", torch.float16) is kernel
    asked = []
    monkeypatch.setattr(attention, "choose_kernel", lambda device, wanted, dtype: asked.append(dtype))
    q = torch.randn(1, 2, 3, 4)
    attention_forward(torch.nn.Module(), q, q, q, None)
    assert asked == [torch.float32]
