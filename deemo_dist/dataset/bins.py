"""The inner loop of packing, compiled: open bins in buckets by what they have left.

A bin stands in the bucket of its *level*: the share it has left of its most used resource, in ``LEVELS`` steps. Words
of 64 bits say which buckets hold any, so that the best fit is a few words away. Buckets are stacks, linked through
``below``. After Coffman, Garey and Johnson, "Approximation algorithms for bin packing" (1984).
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

LEVELS = 4096
TRIES = 16
"""How many bins of a lower level are tried before a new one is opened."""

WORD = 64
NONE = -1


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` compiled, once a machine where numba finds a folder for its cache, else once a process."""
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:
        return numba.njit(nogil=True)(function)


@compiled
def lowest_from(mask: np.ndarray, level: int) -> int:
    """The lowest level >= ``level`` whose bucket holds a bin, or -1."""
    place = level // WORD
    word = mask[place] >> np.uint64(level % WORD) << np.uint64(level % WORD)
    while word == 0:
        place += 1
        if place == len(mask):
            return NONE
        word = mask[place]
    bit = 0
    while not (word >> np.uint64(bit)) & np.uint64(1):
        bit += 1
    return place * WORD + bit


@compiled
def highest_below(mask: np.ndarray, level: int) -> int:
    """The highest level < ``level`` whose bucket holds a bin, or -1."""
    place, bits = level // WORD, level % WORD
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
def unlink(top: np.ndarray, below: np.ndarray, count: np.ndarray, mask: np.ndarray, level: int, above: int) -> int:
    """Take the bin under ``above`` (-1: the top one) out of a bucket; returns its number."""
    number = top[level] if above == NONE else below[above]
    if above == NONE:
        top[level] = below[number]
    else:
        below[above] = below[number]
    count[level] -= 1
    if count[level] == 0:
        mask[level // WORD] &= ~(np.uint64(1) << np.uint64(level % WORD))
    return int(number)


@compiled
def take_below(
    top: np.ndarray,
    below: np.ndarray,
    count: np.ndarray,
    mask: np.ndarray,
    left: np.ndarray,
    item: np.ndarray,
    need: int,
) -> int:
    """Take a bin of a lower level that the item fits all the same, since it needs little of what is short; or -1."""
    level, tries = highest_below(mask, need), TRIES
    while level != NONE and tries > 0:
        above, number, seen = NONE, top[level], 0
        while number != NONE and seen < tries:
            if left[number, 0] >= item[0] and left[number, 1] >= item[1] and left[number, 2] >= item[2]:
                return int(unlink(top, below, count, mask, level, above))
            above, number, seen = number, below[number], seen + 1
        tries -= count[level]
        level = highest_below(mask, level)
    return NONE


@compiled
def best_fit(costs: np.ndarray, needs: np.ndarray, limits: np.ndarray) -> tuple[np.ndarray, int]:
    """Put items, in the order given, each into the fullest bin that holds it, else into a new one.

    ``costs``: int64 [N, 3]; ``needs``: int64 [N], the level at which an item surely fits; ``limits``: int64 [3], at
    least 1. A bin that has less left of any resource than the smallest item needs is closed. Returns each item's bin
    (int64 [N]) and how many bins there are.
    """
    items = len(costs)
    top, count = np.full(LEVELS + 1, NONE, np.int64), np.zeros(LEVELS + 1, np.int64)
    mask = np.zeros(LEVELS // WORD + 1, np.uint64)
    below, left = np.full(items, NONE, np.int64), np.empty((items, 3), np.int64)
    chosen, bins = np.empty(items, np.int64), 0
    least = np.array([costs[:, 0].min(), costs[:, 1].min(), costs[:, 2].min()]) if items else limits
    for place in range(items):
        item, need = costs[place], min(needs[place], LEVELS)
        level = lowest_from(mask, need)
        number = unlink(top, below, count, mask, level, NONE) if level != NONE else NONE
        if number == NONE:
            number = take_below(top, below, count, mask, left, item, need)
        if number == NONE:
            number = bins
            left[number] = limits
            bins += 1
        left[number] -= item
        chosen[place] = number
        if left[number, 0] >= least[0] and left[number, 1] >= least[1] and left[number, 2] >= least[2]:
            share = min(left[number, 0] / limits[0], left[number, 1] / limits[1], left[number, 2] / limits[2])
            level = int(share * LEVELS)
            below[number], top[level] = top[level], number
            count[level] += 1
            mask[level // WORD] |= np.uint64(1) << np.uint64(level % WORD)
    return chosen, bins
