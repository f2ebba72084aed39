"""A disguised voice: what identifies the speaker is shifted by a keyed amount, what carries emotion is kept.

Kept: how f0 moves, the loudness contour, timing. Shifted: the spectral envelope (``world``, ``mcadams``, their
``sum``); none of these is strong against an informed attacker: say "disguised". ``prosody`` leaves no voice at all:
"removed".
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from deemo_dist.deid.voice import mcadams, prosody, world
from deemo_dist.deid.voice.figures import HOP, RATE, Contours, compared, kept, loudness
from deemo_dist.deid.voice.muting import FADE, Muted, Seconds, hush
from deemo_dist.deid.voice.pieces import Piece, joined, pieces
from deemo_dist.deid.waveform import at_sound_rate, check_finite
from deemo_dist.media import Sound, Tape

QUIETEST = 2.0**-15
SHORTEST = RATE // 4
BLOCK = 30 * RATE
WARP = (1.10, 1.20)
ALPHA = (0.5, 0.9)
ALPHA_IN_SUM = (0.75, 0.88)
LOUDEST_GAIN = 8.0

Method = Literal["world", "mcadams", "sum", "prosody", "drop"]
GRID: dict[Method, tuple[int, int]] = {"world": (8, 1), "mcadams": (0, 9), "sum": (4, 4), "prosody": (0, 1)}
"""How many warps and how many McAdams coefficients an attacker tries."""


def disguise_into(
    heard: Sound,
    rate: int,
    write: Callable[[np.ndarray], None],
    *,
    method: Method,
    seed: int,
    mutes: Sequence[Seconds] = (),
) -> dict[str, float] | None:
    """Disguise the voice in ``heard`` (mono, at ``rate`` Hz): blocks of float32 [N] at 16 kHz in [-1, 1] go to
    ``write``; the figures come back (what was measured, never the parameters). None, and nothing written, where there
    is no sample at all, and for ``drop``.

    ``seed`` (secret, one a clip) draws the parameters; ``mutes``: (start, end) seconds that become exact silence,
    before and after. The result lasts as long, within one sample. At 16 kHz memory does not grow with the length, for
    no more than two pieces are held. A sound below the last bit of 16-bit audio becomes exact silence. Raises
    ``DeidError`` (stage voice) for values that are not finite or another shape or rate.
    """
    sound = at_sound_rate(heard, rate, stage="voice")
    loudest = _loudest(sound, mutes)
    if not len(sound) or method == "drop":
        return None
    if loudest < QUIETEST:
        for start in range(0, len(sound), BLOCK):
            write(np.zeros(min(BLOCK, len(sound) - start), np.float32))
        return {"voice_silent": 1.0}
    muted = Muted(sound, mutes)
    shift = shifter(method, drawn(np.random.default_rng(seed)), muted)
    original, clipped = Contours(), Counter[bool]()
    made = _written(joined(_worked(muted, shift, original), RATE), write, mutes, len(sound), clipped)
    shifted = Contours.of(Tape.once(made, len(sound)))  # what is measured as it passes is written on the way
    figures = {"voice_clipped_share": clipped[True] / len(sound)} | compared(original, shifted)
    return figures | ({"muted_seconds": _seconds(mutes)} if mutes else {})


def _loudest(sound: Sound, mutes: Sequence[Seconds]) -> float:
    """The largest sample outside ``mutes``; raises ``DeidError`` where any is not finite, within them too."""
    loudest = 0.0
    for start in range(0, len(sound), BLOCK):
        part = np.array(sound[start : start + BLOCK])
        check_finite(part, stage="voice")
        hush(part, mutes, at=start, length=len(sound), fade=FADE)
        loudest = max(loudest, float(np.abs(part).max()))
    return loudest


def _worked(
    sound: Sound, shift: Callable[[np.ndarray], np.ndarray], measured: Contours
) -> Iterator[tuple[Piece, np.ndarray]]:
    """The pieces of a sound after ``shift``, with their loudness: float64 [stop - start], not limited. The original is
    ``measured`` on the way."""
    for piece in pieces(sound, RATE):
        part = sound[piece.start : piece.stop].astype(np.float64)
        measured.add(piece, part)
        padded = np.pad(part, (0, max(0, SHORTEST - len(part))))
        yield piece, _with_loudness_of(padded, shift(padded))[: len(part)]


def _written(
    blocks: Iterable[np.ndarray],
    write: Callable[[np.ndarray], None],
    mutes: Sequence[Seconds],
    length: int,
    clipped: Counter[bool],
) -> Iterator[np.ndarray]:
    """Each of ``blocks`` as it comes, once it is written: limited to [-1, 1], and silent again in ``mutes``."""
    at = 0
    for block in blocks:
        clipped[True] += int((np.abs(block) > 1.0).sum())
        limited = np.clip(block, -1.0, 1.0).astype(np.float32, copy=False)
        hush(limited, mutes, at=at, length=length)
        write(limited)
        at += len(block)
        yield block


def _seconds(mutes: Sequence[Seconds]) -> float:
    return float(sum(end - start for start, end in mutes))


@dataclass(frozen=True)
class Shift:
    """What is drawn for a clip: ``warp`` of the formants (``world``, ``sum``), and where in its range the McAdams
    coefficient lies, ``share`` in 0..1 (``mcadams``, ``sum``)."""

    warp: float
    share: float

    def coefficient(self, low: float, high: float) -> float:
        """The McAdams coefficient in its range."""
        return low + self.share * (high - low)


def drawn(random: np.random.Generator) -> Shift:
    """A shift out of ``random``, drawn in the same order whatever the method."""
    warp = random.uniform(*WARP)
    return Shift(warp=warp if random.random() < 0.5 else 1.0 / warp, share=random.random())


def grid(method: Method) -> tuple[Shift, ...]:
    """Shifts spread evenly over what ``method`` draws from: what an attacker tries who knows it but not the draw."""
    warps, shares = GRID[method]
    outward = [WARP[0] + (step + 0.5) / (warps // 2) * (WARP[1] - WARP[0]) for step in range(warps // 2)]
    both = [*outward, *(1.0 / warp for warp in outward)] or [1.0]
    return tuple(Shift(warp=warp, share=(step + 0.5) / shares) for warp in both for step in range(shares))


def disguised_as(sound: np.ndarray, method: Method, shifts: Sequence[Shift]) -> list[np.ndarray]:
    """A short ``sound`` (float [N] at 16 kHz), taken apart once, disguised under each of ``shifts``: float32 [N]."""
    padded = np.pad(sound.astype(np.float64), (0, max(0, SHORTEST - len(sound))))
    centre = median_pitch(sound) if method == "prosody" else 0.0
    apply = _shifting(method, padded, centre)
    made = (_with_loudness_of(padded, apply(shift))[: len(sound)] for shift in shifts)
    return [np.clip(each, -1.0, 1.0).astype(np.float32) for each in made]


def shifter(method: Method, shift: Shift, sound: Sound) -> Callable[[np.ndarray], np.ndarray]:
    """The method with its parameters: float64 [N] at 16 kHz to the same.

    ``sound``: the whole clip, for what is measured once (the median f0 of ``prosody``).
    """
    centre = median_pitch(sound) if method == "prosody" else 0.0
    return lambda part: _shifting(method, part, centre)(shift)


def _shifting(method: Method, part: np.ndarray, centre: float) -> Callable[[Shift], np.ndarray]:
    """``part`` taken apart, to be put together under any shift."""
    if method == "mcadams":
        return lambda shift: mcadams.shift_poles(part, shift.coefficient(*ALPHA))
    if method == "prosody":
        return lambda shift: prosody.resynthesise(part, centre)
    parts = world.analyse(part)
    if method == "world":
        return lambda shift: world.synthesise(parts, shift.warp)
    return lambda shift: mcadams.shift_poles(world.synthesise(parts, shift.warp), shift.coefficient(*ALPHA_IN_SUM))


def median_pitch(sound: Sound) -> float:
    """log2 of a clip's median f0 in Hz; that of the reference pitch where nothing is voiced."""
    tracks = [kept(piece, world.pitch(sound[piece.start : piece.stop])) for piece in pieces(sound, RATE)]
    pitch = np.concatenate(tracks)
    return float(np.median(np.log2(pitch[pitch > 0]))) if (pitch > 0).any() else float(np.log2(prosody.REFERENCE_HZ))


def _with_loudness_of(original: np.ndarray, shifted: np.ndarray) -> np.ndarray:
    """``shifted`` with the loudness contour of ``original``: a slow gain, bounded so that noise is not blown up."""
    wanted, have = loudness(original), loudness(shifted)
    gain = np.clip(wanted / np.maximum(have, 1e-6), 0.0, LOUDEST_GAIN)
    at = np.arange(len(gain)) * HOP + HOP // 2
    return shifted * np.interp(np.arange(len(shifted)), at, gain)
