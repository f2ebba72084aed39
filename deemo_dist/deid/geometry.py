"""Boxes as float64 arrays [N, 4] of x0, y0, x1, y1 in pixels: the small geometry that tracking and masking share."""

import numpy as np

Array = np.ndarray

FEW = 64
"""Boxes that are compared all with all: one call for so few is quicker than one for each that is kept."""


def area(boxes: Array) -> Array:
    """Area of each box, 0 for an inverted one: [N]."""
    return np.maximum(boxes[..., 2] - boxes[..., 0], 0) * np.maximum(boxes[..., 3] - boxes[..., 1], 0)


def intersection(first: Array, second: Array) -> Array:
    """Area shared by each pair: [N, M] from [N, 4] and [M, 4]."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    sides = np.maximum(high - low, 0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def within(points: Array, boxes: Array) -> Array:
    """Whether each point [N, 2] lies in any of ``boxes`` [M, 4]: bool [N]."""
    inside = (points[:, None] >= boxes[None, :, :2]) & (points[:, None] <= boxes[None, :, 2:])
    return np.asarray(np.any(np.all(inside, axis=2), axis=1))


def fills(boxes: Array, width: int, height: int, *, least: float) -> Array:
    """Which of ``boxes`` float64 [N, 4] cover ``least`` of a picture and more: bool [N]."""
    picture = np.array([[0, 0, width, height]], dtype=np.float64)
    return np.asarray(intersection(boxes, picture)[:, 0] >= least * width * height)


def iou(first: Array, second: Array) -> Array:
    """Intersection over union of each pair: [N, M]; 0 where both are empty."""
    shared = intersection(first, second)
    whole = area(first)[:, None] + area(second)[None, :] - shared
    return np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)


def union(first: Array, second: Array) -> Array:
    """The smallest box around both, elementwise: [..., 4]."""
    return np.concatenate(
        [np.minimum(first[..., :2], second[..., :2]), np.maximum(first[..., 2:], second[..., 2:])], axis=-1
    )


def dilate(boxes: Array, share: float) -> Array:
    """Each side moved out by ``share`` of the box's width or height."""
    margin = (boxes[..., 2:] - boxes[..., :2]) * share
    return np.concatenate([boxes[..., :2] - margin, boxes[..., 2:] + margin], axis=-1)


def snap(boxes: Array, grid: int, width: int, height: int) -> Array:
    """Boxes grown outward to a ``grid`` of pixels and cut to the frame: int64 [N, 4], empty ones removed."""
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    low = np.floor(boxes[:, :2] / grid) * grid
    high = np.ceil(boxes[:, 2:] / grid) * grid
    limit = np.array([width, height], dtype=np.float64)
    snapped = np.concatenate([np.clip(low, 0, limit), np.clip(high, 0, limit)], axis=1).astype(np.int64)
    return snapped[area(snapped) > 0]


def suppress(boxes: Array, scores: Array, overlap: float) -> Array:
    """Non-maximum suppression: indices kept, best score first."""
    kept: list[int] = []
    rest = np.argsort(-scores, kind="stable")
    while rest.size > FEW:
        kept.append(int(rest[0]))
        others = rest[1:]
        rest = others[iou(boxes[rest[:1]], boxes[others])[0] <= overlap]
    apart = iou(boxes[rest], boxes[rest]) <= overlap
    left = np.ones(rest.size, dtype=bool)
    for place, number in enumerate(rest.tolist()):
        if left[place]:
            kept.append(number)
            left &= apart[place]
    return np.array(kept, dtype=np.int64)
