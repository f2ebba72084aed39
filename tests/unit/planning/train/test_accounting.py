"""MFU accounting against published rows.

llm-foundry, scripts/train/benchmarking/README.md, H100 80GB BF16 (MFU in %, tokens/s/GPU), and the rows that its 7B was
published with on 128 and 512 H100.
"""

import pytest
import torch
from transformers import AutoConfig

from deemo_dist.planning.train.accounting import utilisation
from deemo_dist.planning.train.hardware import gpu_of
from deemo_dist.planning.train.symbolic import META, Symbolic
from deemo_dist.planning.train.trace import Counter

# parameters, layers, width, tokens a sequence, tokens/s/GPU, MFU
ROWS = {
    "7b-8": (6_658_859_008, 32, 4096, 2048, 10_643, 46.44),
    "7b-128": (6_658_859_008, 32, 4096, 2048, 10_475, 45.7),
    "7b-512": (6_658_859_008, 32, 4096, 2048, 9_670, 42.2),
    "7b-long": (6_684_024_832, 32, 4096, 8192, 6_935, 37.14),
    "13b-16": (12_853_954_560, 40, 5120, 2048, 4_767, 39.58),
    "30b-32": (29_975_214_080, 48, 7168, 2048, 2_308, 43.92),
    "70b-64": (64_862_437_376, 80, 8192, 2048, 1_039, 42.57),
}
PEAK = gpu_of("h100").peak


def decoder_flops(parameters: float, layers: int, hidden: int, segment: float) -> float:
    """Operations a token of training a dense decoder, as llm-foundry counts them: 6 N + 12 L d s."""
    return 6.0 * parameters + 12.0 * layers * hidden * segment


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_mfu_is_as_published(row: tuple[int, int, int, int, int, float]) -> None:
    parameters, layers, width, length, rate, published = row
    mfu = utilisation(rate * decoder_flops(parameters, layers, width, length), 1.0, PEAK)
    assert 100 * mfu == pytest.approx(published, abs=0.1)


def test_the_count_on_the_modules_is_the_published_formula() -> None:
    """A 7B decoder of the published rows' sizes, counted product by product on the meta device."""
    length, layers, width = 2048, 32, 4096
    config = AutoConfig.for_model(
        "llama",
        hidden_size=width,
        intermediate_size=8 * width // 3,
        num_hidden_layers=layers,
        num_attention_heads=32,
        vocab_size=50_432,
        tie_word_embeddings=True,
    )
    from transformers import AutoModelForCausalLM

    with META:
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").bfloat16()
    counted: list[float] = []
    with Symbolic(0) as symbolic, Counter(counted.append):
        logits = model(input_ids=torch.zeros(1, length, dtype=torch.long, device=META), use_cache=False).logits
        logits.backward(torch.empty_like(logits))
    total = (sum(counted) + symbolic.scores.forward + symbolic.scores.backward) / length
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert total == pytest.approx(decoder_flops(parameters, layers, width, length), rel=1e-3)
    assert 100 * utilisation(10_475 * total, 1.0, PEAK) == pytest.approx(45.7, abs=0.1)


def test_no_time_or_no_peak_is_no_utilisation() -> None:
    assert utilisation(1e12, 0.0, 1e12) == utilisation(1e12, 1.0, 0.0) == 0.0
