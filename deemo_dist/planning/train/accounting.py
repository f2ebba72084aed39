"""Model FLOPs utilisation: operations that the model needs, over what the hardware could do in that time.

Recomputed operations do not count (they would in HFU). A dense decoder's forward and backward pass is 6 N operations a
token for its parameters and 12 L d s for attention over segments of s tokens (Korthikanti et al. 2022,
arXiv 2205.05198; PaLM, arXiv 2204.02311), as llm-foundry counts too.
"""


def utilisation(flops: float, seconds: float, peak: float) -> float:
    """Share of ``peak`` (operations a second of all devices together) that ``flops`` in ``seconds`` are; 0 where the
    peak is not known."""
    return flops / (seconds * peak) if seconds > 0 and peak > 0 else 0.0
