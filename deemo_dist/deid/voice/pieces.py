"""Long sounds in pieces, so that memory stays bounded: cut where it is quietest, worked on with context, joined."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

LONGEST, SHORTEST = 35.0, 25.0  # seconds: a cut is looked for between the two
CONTEXT = 0.5
JOIN = 0.02
HOP = 0.01


@dataclass(frozen=True)
class Piece:
    """Samples [start, stop) of a sound are worked on; [keep_from, keep_to) of them count, joined over ``JOIN``."""

    start: int
    stop: int
    keep_from: int
    keep_to: int


def pieces(sound: np.ndarray, rate: int) -> Iterator[Piece]:
    """The pieces of a sound [N], in their order; together they keep every sample. One piece where it is short."""
    context, at = round(CONTEXT * rate), 0
    while at < len(sound):
        end = _quietest(sound, at, rate)
        yield Piece(max(0, at - context), min(len(sound), end + context), at, end)
        at = end


def _quietest(sound: np.ndarray, at: int, rate: int) -> int:
    """Where the piece that begins ``at`` ends: in the quietest 10 ms of the allowed stretch, or at the end."""
    low, high, hop = at + round(SHORTEST * rate), at + round(LONGEST * rate), round(HOP * rate)
    if high >= len(sound):
        return len(sound)
    stretch = sound[low : low + (high - low) // hop * hop].astype(np.float64).reshape(-1, hop)
    return low + int(np.argmin((stretch**2).sum(axis=1))) * hop


def join(whole: np.ndarray, piece: Piece, made: np.ndarray, rate: int) -> None:
    """Put a worked piece (``made``: [stop - start]) into ``whole``, faded over what the piece before left there."""
    fade = min(round(JOIN * rate), piece.keep_from - piece.start)
    begin = piece.keep_from - fade
    own = made[begin - piece.start :]
    ramp = np.linspace(0.0, 1.0, fade + 2)[1:-1]
    whole[begin : piece.keep_from] *= 1.0 - ramp
    whole[begin : piece.keep_from] += ramp * own[:fade]
    whole[piece.keep_from : piece.stop] = own[fade:]
