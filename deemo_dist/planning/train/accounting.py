"""Model FLOPs utilisation: operations that the model needs, over what the hardware could do in that time.

Recomputed operations do not count (they would in HFU). A dense decoder's forward and backward pass is 6 N operations a
token for its parameters and 12 L d s for attention over segments of s tokens (Korthikanti et al. 2022,
arXiv 2205.05198; PaLM, arXiv 2204.02311), as llm-foundry counts too.
"""


def decoder_flops(parameters: float, layers: int, hidden: int, segment: float) -> float:
    """Operations a token of training a whole dense decoder: 6 N + 12 L d s."""
    return 6.0 * parameters + 12.0 * layers * hidden * segment


def utilisation(flops: float, seconds: float, peak: float) -> float:
    """Share of ``peak`` (operations a second of all devices together) that ``flops`` in ``seconds`` are; 0 where the
    peak is not known."""
    return flops / (seconds * peak) if seconds > 0 and peak > 0 else 0.0


def hiding_tokens(
    peak: float, bandwidth: float, efficiency: float, *, moved: float = 6.0, needed: float = 6.0
) -> float:
    """Tokens a GPU needs in a micro-step for its products to take as long as ZeRO-3's traffic.

    A parameter moves ``moved`` bytes (two bf16 gathers and a reduce-scatter) over ``bandwidth`` bytes/s while each
    token costs ``needed`` operations at ``efficiency`` of ``peak``.
    """
    return moved / bandwidth * efficiency * peak / needed
