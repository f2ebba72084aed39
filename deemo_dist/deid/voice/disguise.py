"""A disguised voice: what identifies the speaker is shifted by a keyed amount, what carries emotion is kept.

Kept: how f0 moves, the loudness contour, timing. Shifted: the spectral envelope (``world``, ``mcadams``, their
``sum``); none of these is strong against an informed attacker: say "disguised". ``prosody`` leaves no voice at all:
"removed".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from deemo_dist.deid.voice import mcadams, prosody, world
from deemo_dist.deid.voice.pieces import join, pieces
from deemo_dist.errors import DeidError
from deemo_dist.media import resample

RATE = 16_000
QUIETEST = 2.0**-15
SHORTEST = RATE // 4
WARP = (1.10, 1.20)
ALPHA = (0.5, 0.9)
ALPHA_IN_SUM = (0.75, 0.88)
HOP = 160
LOUDEST_GAIN = 8.0
MOVING = 0.5  # semitones: below it a correlation of f0 says nothing
FADE = 0.005  # seconds, at the edges of what is muted

Method = Literal["world", "mcadams", "sum", "prosody", "drop"]
Seconds = tuple[float, float]
GRID: dict[Method, tuple[int, int]] = {"world": (8, 1), "mcadams": (0, 9), "sum": (4, 4), "prosody": (0, 1)}
"""How many warps and how many McAdams coefficients an attacker tries."""


@dataclass(frozen=True)
class Disguised:
    """``waveform``: float32 [N] at 16 kHz in [-1, 1]; ``figures``: what was measured, never the parameters."""

    waveform: np.ndarray
    figures: dict[str, float] = field(default_factory=dict)


def disguise(
    waveform: np.ndarray, rate: int, *, method: Method, seed: int, mutes: Sequence[Seconds] = ()
) -> Disguised | None:
    """Disguise the voice in ``waveform`` (float32 [N], mono, at ``rate`` Hz). None where there is no sample at all, and
    for ``drop``.

    ``seed`` (secret, one a clip) draws the parameters; ``mutes``: (start, end) seconds that become exact silence,
    before and after. The result lasts as long, within one sample; beyond it, memory does not grow with its length. A
    sound below the last bit of 16-bit audio becomes exact silence. Raises ``DeidError`` (stage voice) for values that
    are not finite or another shape or rate.
    """
    sound = resample(_checked(waveform, rate), rate, RATE)
    if not len(sound) or method == "drop":
        return None
    muted = silenced(sound, mutes)
    if np.abs(muted).max() < QUIETEST:
        return Disguised(waveform=np.zeros(len(sound), dtype=np.float32), figures={"voice_silent": 1.0})
    shift = shifter(method, drawn(np.random.default_rng(seed)), muted)
    made = _in_pieces(muted, shift)
    figures = _measure(muted, made)
    limited = silenced(np.clip(made, -1.0, 1.0).astype(np.float32), mutes, fade=0.0)
    return Disguised(waveform=limited, figures=figures | {"muted_seconds": _seconds(mutes)} if mutes else figures)


def _checked(waveform: np.ndarray, rate: int) -> np.ndarray:
    if waveform.ndim != 1 or not 1_000 <= rate <= 384_000:
        raise DeidError(
            f"the sound is {waveform.ndim}-dimensional at {rate} Hz, not mono", stage="voice", reason="bad_audio"
        )
    if not np.isfinite(waveform).all():
        raise DeidError("the sound holds values that are not finite", stage="voice", reason="bad_audio")
    return waveform


def silenced(sound: np.ndarray, mutes: Sequence[Seconds], *, fade: float = FADE) -> np.ndarray:
    """A copy of ``sound`` [N] at 16 kHz that is exactly 0 in every span, faded to over ``fade`` seconds outside it."""
    made = np.array(sound)
    edge = round(fade * RATE)
    for start, end in mutes:
        low, high = max(0, int(np.floor(start * RATE))), min(len(made), int(np.ceil(end * RATE)))
        before, after = max(0, low - edge), min(len(made), high + edge)
        made[before:low] *= np.linspace(1, 0, low - before, dtype=made.dtype)
        made[high:after] *= np.linspace(0, 1, max(0, after - high), dtype=made.dtype)
        made[low:high] = 0
    return made


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


def shifter(method: Method, shift: Shift, sound: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
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


def median_pitch(sound: np.ndarray) -> float:
    """log2 of a clip's median f0 in Hz; that of the reference pitch where nothing is voiced."""
    pitch = _tracks(sound, world.pitch)
    return float(np.median(np.log2(pitch[pitch > 0]))) if (pitch > 0).any() else float(np.log2(prosody.REFERENCE_HZ))


def _in_pieces(sound: np.ndarray, shift: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """``shift`` over the pieces of a sound, with its loudness: float32 [N], not limited."""
    whole = np.zeros(len(sound), dtype=np.float32)
    for piece in pieces(sound, RATE):
        part = sound[piece.start : piece.stop].astype(np.float64)
        padded = np.pad(part, (0, max(0, SHORTEST - len(part))))
        made = _with_loudness_of(padded, shift(padded))[: len(part)]
        join(whole, piece, made, RATE)
    return whole


def loudness(sound: np.ndarray) -> np.ndarray:
    """Root mean square over 40 ms every 10 ms: float64 [ceil(N / 160)]."""
    power = np.concatenate([[0.0], np.cumsum(np.pad(sound.astype(np.float64), (0, HOP)) ** 2)])
    centres = np.arange(-(-len(sound) // HOP)) * HOP + HOP // 2
    low, high = np.clip(centres - 2 * HOP, 0, len(sound)), np.clip(centres + 2 * HOP, 0, len(sound))
    return np.sqrt(np.maximum(power[high] - power[low], 0.0) / np.maximum(high - low, 1))


def _with_loudness_of(original: np.ndarray, shifted: np.ndarray) -> np.ndarray:
    """``shifted`` with the loudness contour of ``original``: a slow gain, bounded so that noise is not blown up."""
    wanted, have = loudness(original), loudness(shifted)
    gain = np.clip(wanted / np.maximum(have, 1e-6), 0.0, LOUDEST_GAIN)
    at = np.arange(len(gain)) * HOP + HOP // 2
    return shifted * np.interp(np.arange(len(shifted)), at, gain)


def _tracks(sound: np.ndarray, measure: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """A track of one value every 10 ms over a whole sound, measured piece by piece: float64 [ceil(N / 160)]."""
    parts = []
    for piece in pieces(sound, RATE):
        track = measure(sound[piece.start : piece.stop].astype(np.float64))
        first = (piece.keep_from - piece.start) // HOP
        parts.append(track[first : first + -(-(piece.keep_to - piece.keep_from) // HOP)])
    return np.concatenate(parts)


def _measure(original: np.ndarray, shifted: np.ndarray) -> dict[str, float]:
    """How well f0 and loudness were kept: correlations (of f0 only where it moves by half a semitone), the median error
    of f0 in semitones, shares voiced and clipped."""
    figures = {"voice_clipped_share": float((np.abs(shifted) > 1.0).mean())}
    before, after = _tracks(original, world.pitch), _tracks(shifted, world.pitch)
    voiced = (before > 0) & (after > 0)
    figures["voiced_share"] = float((before > 0).mean()) if len(before) else 0.0
    contours = [12 * np.log2(track[voiced]) for track in (before, after)]
    if voiced.any():
        moved = [contour - np.median(contour) for contour in contours]  # the level is not kept by every method
        figures["f0_error_semitones"] = float(np.median(np.abs(moved[1] - moved[0])))
    pitch = correlation(*contours) if voiced.any() and _spread(contours[0]) >= MOVING else None
    level = [20 * np.log10(np.maximum(_tracks(sound, loudness), 1e-5)) for sound in (original, shifted)]
    loud = correlation(*level)
    figures |= {"f0_correlation": pitch} if pitch is not None else {}
    return figures | ({"loudness_correlation": loud} if loud is not None else {})


def _spread(contour: np.ndarray) -> float:
    """Half the range of all but the lowest and highest twentieth: one octave error does not make a contour move."""
    low, high = np.percentile(contour, [5, 95])
    return float(high - low) / 2


def correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    """Pearson's r; None for fewer than 10 values or a constant."""
    if len(first) < 10 or float(np.std(first)) < 1e-9 or float(np.std(second)) < 1e-9:
        return None
    return float(np.corrcoef(first, second)[0, 1])
