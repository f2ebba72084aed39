"""Long sounds in pieces, so that memory stays bounded: cut where it is quietest, worked on with context, joined."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from deemo_dist.media import Sound

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


def pieces(sound: Sound, rate: int) -> Iterator[Piece]:
    """The pieces of a sound, in their order; together they keep every sample. One piece where it is short."""
    context, at = round(CONTEXT * rate), 0
    while at < len(sound):
        end = _quietest(sound, at, rate)
        yield Piece(max(0, at - context), min(len(sound), end + context), at, end)
        at = end


def _quietest(sound: Sound, at: int, rate: int) -> int:
    """Where the piece that begins ``at`` ends: in the quietest 10 ms of the allowed stretch, or at the end."""
    low, high, hop = at + round(SHORTEST * rate), at + round(LONGEST * rate), round(HOP * rate)
    if high >= len(sound):
        return len(sound)
    stretch = sound[low : low + (high - low) // hop * hop].astype(np.float64).reshape(-1, hop)
    return low + int(np.argmin((stretch**2).sum(axis=1))) * hop


def joined(worked: Iterable[tuple[Piece, np.ndarray]], rate: int) -> Iterator[np.ndarray]:
    """The whole sound again out of pieces that were worked on (float [stop - start], in their order), in blocks of
    float32: a block as soon as no piece to come can change it."""
    left, at = np.zeros(0, np.float32), 0
    for piece, made in worked:
        whole = np.zeros(piece.stop - at, np.float32)
        whole[: len(left)] = left
        _join(whole, piece, made, rate, at)
        done = piece.stop if piece.stop == piece.keep_to else max(at, piece.keep_to - round(JOIN * rate))
        yield whole[: done - at]
        left, at = whole[done - at :], done


def _join(whole: np.ndarray, piece: Piece, made: np.ndarray, rate: int, at: int) -> None:
    """Put a worked piece into ``whole``, which begins at sample ``at``, faded over what the piece before left there."""
    fade = min(round(JOIN * rate), piece.keep_from - piece.start)
    begin, keep_from = piece.keep_from - fade - at, piece.keep_from - at
    own = made[piece.keep_from - fade - piece.start :]
    ramp = np.linspace(0.0, 1.0, fade + 2)[1:-1]
    whole[begin:keep_from] *= 1.0 - ramp
    whole[begin:keep_from] += ramp * own[:fade]
    whole[keep_from : piece.stop - at] = own[fade:]
