"""The inner loop of packing, compiled: one bin after another, of items as they come, closed by what fits best.

Bins of like items (what sorting gives) would make each step lean to long or to short examples, and so to what goes with
length: a modality, a dataset, a label. So a bin takes items in the order given, which is random, until the next one
does not fit; then the largest that fit in what is left. Every second bin begins with the largest item there is, or
the large ones would be left over at the end.

Items stand in buckets by what they take, in ``LEVELS`` steps, of the *main* resource: the one that all items together
take most of. Words of 64 bits say which buckets hold any, so that the best fit is a few words away.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

LEVELS = 4096
LARGEST_FIRST = 2
"""Every so many bins one begins with the largest item. Measured: at 1, steps lean to like lengths again (dispersion of
long examples over steps 1.3 to 2.7 times that of draws, 0.8 to 1.1 here); at 4, bins are as full within 0.05 %."""

TRIES = 16
"""How many items are tried where the best one is not at hand: of those that the others might not let in, and of pairs
that close a bin."""

EVEN = 0.06
"""Work of a bin that is this near to the usual, in shares of a pack's budget, is near enough. Measured: at 0.1 the work
of 64 ranks differs by 2.0 % where it does by 1.8 % here, and bins are 0.013 % fuller; at 0.04 nothing is gained."""

WORD = 64
NONE = -1


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` compiled, once a machine where numba finds a folder for its cache, else once a process."""
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:
        return numba.njit(nogil=True)(function)


@compiled
def highest_upto(mask: np.ndarray, level: int) -> int:
    """The highest level <= ``level`` whose bucket holds an item, or -1."""
    place, bits = (level + 1) // WORD, (level + 1) % WORD
    word = mask[place] & ((np.uint64(1) << np.uint64(bits)) - np.uint64(1))
    while word == 0:
        place -= 1
        if place < 0:
            return NONE
        word = mask[place]
    bit = WORD - 1
    while not (word >> np.uint64(bit)) & np.uint64(1):
        bit -= 1
    return place * WORD + bit


@compiled
def insert(top: np.ndarray, links: np.ndarray, mask: np.ndarray, level: int, item: int) -> None:
    """Put an item on top of a bucket. ``links``: int64 [N, 2], of the items above and below each."""
    links[item, 0], links[item, 1] = NONE, top[level]
    if top[level] != NONE:
        links[top[level], 0] = item
    top[level] = item
    mask[level // WORD] |= np.uint64(1) << np.uint64(level % WORD)


@compiled
def remove(top: np.ndarray, links: np.ndarray, mask: np.ndarray, level: int, item: int) -> None:
    """Take an item out of its bucket, wherever in it."""
    above, below = links[item, 0], links[item, 1]
    if above == NONE:
        top[level] = below
    else:
        links[above, 1] = below
    if below != NONE:
        links[below, 0] = above
    if top[level] == NONE:
        mask[level // WORD] &= ~(np.uint64(1) << np.uint64(level % WORD))


@compiled
def fits(item: np.ndarray, left: np.ndarray) -> bool:
    """Whether an item fits in what is left."""
    return bool(left[0] >= item[0] and left[1] >= item[1] and left[2] >= item[2])


@compiled
def next_free(chosen: np.ndarray, place: int) -> int:
    """The first place from ``place`` on whose item is in no bin yet; the count of items if there is none."""
    while place < len(chosen) and chosen[place] != NONE:
        place += 1
    return place


@compiled
def largest(
    costs: np.ndarray,
    work: np.ndarray,
    left: np.ndarray,
    short: float,
    main: int,
    limit: int,
    top: np.ndarray,
    links: np.ndarray,
    mask: np.ndarray,
) -> int:
    """The item that takes most of the ``main`` resource among those that fit in what is left, by the first ``TRIES``;
    of a bucket's, the one whose work is nearest to ``short``. Or -1."""
    level, tries, best, off = highest_upto(mask, -(-left[main] * LEVELS // limit)), TRIES, NONE, np.inf
    while level != NONE and best == NONE:
        item = top[level]
        while item != NONE and tries:
            if abs(short - work[item]) < off and fits(costs[item], left):
                best, off = int(item), abs(short - work[item])
            tries -= 1
            item = links[item, 1]
        level = highest_upto(mask, level - 1) if level and tries else NONE
    return best


@compiled
def closer(
    costs: np.ndarray,
    work: np.ndarray,
    left: np.ndarray,
    short: float,
    main: int,
    limits: np.ndarray,
    chosen: np.ndarray,
    top: np.ndarray,
    links: np.ndarray,
    mask: np.ndarray,
    place: int,
) -> int:
    """The item that closes a bin best: the largest that fits; where that leaves a gap, or the bin's work far from the
    usual, one of the next ones, if with the largest that fits beside it the gap is less, or alike and the work nearer.
    Or -1. ``short``: by how much the bin's work is below the usual."""
    best = largest(costs, work, left, short, main, limits[main], top, links, mask)
    gap = left[main] - (costs[best, main] if best != NONE else 0)
    off = abs(short - (work[best] if best != NONE else 0.0))
    rest = np.empty(3, np.int64)
    for _ in range(TRIES):
        place = next_free(chosen, place)
        if (not gap and off < EVEN) or place == len(chosen):
            break
        if fits(costs[place], left):
            for resource in range(3):
                rest[resource] = left[resource] - costs[place, resource]
            after, missing = rest[main], short - work[place]
            beside = largest(costs, work, rest, missing, main, limits[main], top, links, mask)
            if beside != NONE and beside != place:
                after, missing = after - costs[beside, main], missing - work[beside]
            if best == NONE or after < gap or (after == gap and abs(missing) < off):
                best, gap, off = place, after, abs(missing)
        place += 1
    return best


@compiled
def fill_bins(
    costs: np.ndarray, work: np.ndarray, needs: np.ndarray, limits: np.ndarray, main: int
) -> tuple[np.ndarray, int]:
    """Put each item into a bin.

    ``costs``: int64 [N, 3], in random order; ``work``: float64 [N], what is to be alike over bins; ``needs``: int64
    [N], 0 to ``LEVELS``, what each takes of the resource ``main``, rounded up; ``limits``: int64 [3], at least 1. An
    item is not taken as it comes where it would leave a gap that nothing fits. Returns each item's bin (int64 [N]) and
    how many bins there are.
    """
    items, bins, start = len(costs), 0, 0
    chosen, links = np.full(items, NONE, np.int64), np.full((items, 2), NONE, np.int64)
    top, mask = np.full(LEVELS + 1, NONE, np.int64), np.zeros((LEVELS + 1) // WORD + 1, np.uint64)
    for item in range(items - 1, -1, -1):
        insert(top, links, mask, needs[item], item)
    smallest = costs[:, main].min() if items else 1
    usual = work.sum() / max(costs[:, main].sum(), 1) * limits[main]
    for _ in range(items):
        start = next_free(chosen, start)
        if start == items:
            break
        left, place, closing, short = limits.copy(), start, False, usual
        item = top[highest_upto(mask, LEVELS)] if bins % LARGEST_FIRST == 0 else start
        while item != NONE:
            chosen[item] = bins
            for resource in range(3):
                left[resource] -= costs[item, resource]
            short -= work[item]
            remove(top, links, mask, needs[item], item)
            place = next_free(chosen, place)
            closing = closing or place == items or not fits(costs[place], left)
            if not closing:
                closing = 0 < left[main] - costs[place, main] < smallest
            item = place
            if closing:
                item = closer(costs, work, left, short, main, limits, chosen, top, links, mask, place)
        bins += 1
    return chosen, bins
