"""What a step works on: packs, by what is in them, and what they cost."""

from collections.abc import Sequence
from dataclasses import dataclass

from deemo_dist.planning.train.trace import Costs, Unit


@dataclass(frozen=True, kw_only=True)
class Pack:
    """What one pack holds. ``pairs``: the sum of squares of its segments' tokens; ``labels``: tokens with loss."""

    tokens: float
    pairs: float
    labels: float
    clips: float
    windows: float
    cues: float
    samples: float = 1.0

    @classmethod
    def of(cls, segments: Sequence[int], *, labels: int, clips: int, windows: int, cues: int) -> "Pack":
        """A pack of segments of so many tokens."""
        return cls(
            tokens=sum(segments),
            pairs=sum(tokens**2 for tokens in segments),
            labels=labels,
            clips=clips,
            windows=windows,
            cues=cues,
            samples=len(segments),
        )


def cost(pack: Pack, costs: Costs) -> Unit:
    """Operations and bytes of one pack. A medium that it does not show costs a null one: a clip of one frame, one
    window, one clip of cues."""
    parts = (
        costs.clip.times(max(1.0 / costs.frames, pack.clips)),
        costs.window.times(max(1.0, pack.windows)),
        costs.cue.times(max(1.0, pack.cues)),
        costs.token.times(pack.tokens),
        costs.pair.times(pack.pairs),
        costs.label.times(pack.labels),
    )
    total = parts[0]
    for part in parts[1:]:
        total = total.plus(part)
    return total


def model_flops(pack: Pack, costs: Costs) -> float:
    """Operations that a pack needs, forward and backward, for what it shows: what MFU counts."""
    return sum(
        count * (unit.forward + unit.backward)
        for count, unit in (
            (pack.clips, costs.clip),
            (pack.windows, costs.window),
            (pack.cues, costs.cue),
            (pack.tokens, costs.token),
            (pack.pairs, costs.pair),
            (pack.labels, costs.label),
        )
    )


def mean(packs: Sequence[Pack]) -> Pack:
    """The pack whose cost is the mean of theirs, which is exact: costs are linear in what a pack holds."""
    return Pack(**{name: sum(getattr(pack, name) for pack in packs) / len(packs) for name in vars(packs[0])})


def largest(packs: Sequence[Pack]) -> Pack:
    """What no pack passes, in any of its counts."""
    return Pack(**{name: max(getattr(pack, name) for pack in packs) for name in vars(packs[0])})
