"""Changing a sampling rate block by block: the same samples whatever the blocks, in memory of one block."""

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

ZEROS = 10
BETA = 5.0
BLOCK = 1 << 15


class Resampler:
    """From ``rate`` to ``to`` Hz without delay: a polyphase FIR filter, a Kaiser-windowed sinc of ``ZEROS`` zero
    crossings a side (the one of scipy.signal.resample_poly). Beyond both ends there is silence."""

    def __init__(self, rate: int, to: int) -> None:
        common = math.gcd(rate, to)
        self._up, self._down = to // common, rate // common
        self._first, self._weights = _phases(self._up, self._down)
        self._taps = self._weights.shape[1]
        self._at = int(self._first.min())
        self._held = np.zeros(-self._at, np.float32)
        self._taken = self._made = 0

    def push(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        """Take float32 [N]; gives what is complete now, in blocks of float32."""
        if self._up == self._down:
            if len(samples):
                yield np.asarray(samples, np.float32)
            return
        for start in range(0, len(samples), BLOCK):
            part = np.asarray(samples[start : start + BLOCK], np.float32)
            self._taken += len(part)
            yield from self._make(part, (self._taken - self._taps) * self._up // self._down)

    def finish(self) -> Iterator[np.ndarray]:
        """The rest: ceil(N * to / rate) samples in all."""
        if self._up != self._down:
            yield from self._make(np.zeros(2 * self._taps, np.float32), -(-self._taken * self._up // self._down))

    def _make(self, part: np.ndarray, upto: int) -> Iterator[np.ndarray]:
        """Samples up to number ``upto``, ``part`` of the input being new; the input that is done with is let go."""
        self._held = np.concatenate([self._held, part])
        if upto <= self._made:
            return
        turn, phase = np.divmod(np.arange(self._made, upto), self._up)
        starts = turn * self._down + self._first[phase] - self._at
        windows = np.lib.stride_tricks.sliding_window_view(self._held, self._taps)
        yield np.einsum("nt,nt->n", windows[starts], self._weights[phase])
        self._made = upto
        turn_next, phase_next = divmod(upto, self._up)
        done = turn_next * self._down + int(self._first[phase_next]) - self._at - self._taps
        if done > 0:
            self._held, self._at = self._held[done:], self._at + done


@lru_cache(maxsize=4)
def _phases(up: int, down: int) -> tuple[np.ndarray, np.ndarray]:
    """For each of ``up`` output phases: the first input sample it needs, int64 [up], and weights, float32 [up, T]."""
    slow = max(up, down)
    half = ZEROS * slow
    place = np.arange(-half, half + 1)
    filter_ = np.sinc(place / slow) * np.kaiser(2 * half + 1, BETA)
    filter_ *= up / filter_.sum()
    taps = 2 * (half // up) + 2
    at = np.arange(up) * down
    first = -(-(at - half) // up)
    index = half + at[:, None] - (first[:, None] + np.arange(taps)) * up
    weights = np.where((index >= 0) & (index <= 2 * half), filter_[np.clip(index, 0, 2 * half)], 0.0)
    return first, weights.astype(np.float32)


def resample(waveform: np.ndarray, rate: int, to: int = 16_000) -> np.ndarray:
    """Resample float32 [N] from ``rate`` to ``to`` Hz without delay (see ``Resampler``): [ceil(N * to / rate)]."""
    if rate == to or not len(waveform):
        return waveform.astype(np.float32, copy=False)
    resampler = Resampler(rate, to)
    return np.concatenate([*resampler.push(waveform), *resampler.finish()])
