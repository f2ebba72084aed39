"""Modality dropout: showing an example with some of its modalities left out, never with none."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from deemo_dist.dataset.windows import MODALITIES, stream
from deemo_dist.records import Example


def restrict(example: Example, modalities: Sequence[str]) -> Example:
    """The example showing only those of its modalities that are in ``modalities``; its answer stays."""
    kept = tuple(name for name in example.modalities if name in modalities)
    if "text" in example.modalities and "text" not in kept:
        return replace(example, modalities=kept, turns=example.turns_without_text, turns_without_text=())
    return replace(example, modalities=kept)


def drop_modalities(
    examples: Sequence[Example], chance: float, *, seed: int, step: int, pack: int
) -> tuple[Example, ...]:
    """Drop each modality of each example with ``chance``, by a random stream of (seed, step, pack) alone.

    An example that would lose all of them keeps one, drawn evenly. No state is carried from pack to pack, so a resume
    at any step and any number of ranks drops the same.
    """
    if chance <= 0:
        return tuple(examples)
    draw = stream(seed, MODALITIES, step, pack)
    return tuple(_drop(example, chance, _uniform(draw, len(example.modalities) + 1)) for example in examples)


def _drop(example: Example, chance: float, drawn: np.ndarray) -> Example:
    names = example.modalities
    kept = [name for name, value in zip(names, drawn[:-1], strict=True) if value >= chance]
    if not kept and names:
        kept = [names[int(drawn[-1] * len(names))]]
    return example if len(kept) == len(names) else restrict(example, kept)


def _uniform(draw: np.random.Philox, count: int) -> np.ndarray:
    """``count`` numbers in [0, 1), float64."""
    return (draw.random_raw(count) >> np.uint64(11)) * 2.0**-53
