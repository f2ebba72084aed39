"""What the audit saw open is masked as well: the regions of a clip with its openings added."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from deemo_dist.deid import geometry
from deemo_dist.deid.faces import masking
from deemo_dist.deid.faces.openings import Opening


def mended(
    regions: Sequence[np.ndarray], openings: Iterable[Opening], *, dilate: float, width: int, height: int
) -> list[np.ndarray]:
    """``regions`` (int64 [N, 4] pixels a frame), in the frames of every opening with its box, dilated by that share of
    its size. Frames without an opening keep the array they had."""
    more = defaultdict[int, list[np.ndarray]](list)
    for opening in openings:
        box = geometry.snap(geometry.dilate(opening.box, dilate), masking.GRID, width, height)
        for number in range(max(0, opening.first), min(len(regions) - 1, opening.last) + 1):
            more[number].append(box)
    return [np.concatenate([boxes, *more[number]]) if number in more else boxes for number, boxes in enumerate(regions)]
