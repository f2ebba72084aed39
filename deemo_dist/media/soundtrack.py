"""A clip's sound on the picture's clock, block by block: mono, 16 kHz, gaps filled, whatever its length."""

from collections.abc import Callable
from typing import Any

import numpy as np

from deemo_dist.errors import MediaError
from deemo_dist.media.resampling import Resampler

SOUND_RATE = 16_000
SLACK_SECONDS = 0.010
BLOCK_SECONDS = 1.0
LOWEST_RATE, HIGHEST_RATE = 1_000, 384_000


class SoundTrack:
    """Takes decoded sound frames and gives float32 blocks at ``SOUND_RATE`` to ``emit``; sample 0 is at ``zero``.

    ``zero``: seconds of the first picture on the file's own clock. Gaps become silence, overlaps and what precedes the
    first picture are cut; a drift below 10 ms is left. Raises ``MediaError``: too_long past ``max_seconds``, bad_audio
    for a rate that nothing can be made of.
    """

    def __init__(self, rate: int, zero: float, max_seconds: float, emit: Callable[[np.ndarray], None]) -> None:
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise MediaError(f"the sound has {rate} samples a second", reason="bad_audio")
        self.rate, self.zero, self.max_seconds, self.emit = rate, zero, max_seconds, emit
        self.resampler = Resampler(rate, SOUND_RATE)
        self.mixer: Any = None
        self.filled = 0
        self.next = zero
        self.begun = False
        self.blocks: list[np.ndarray] = []
        self.ready = 0

    @property
    def seconds(self) -> float:
        """How much sound there is so far."""
        return self.filled / self.rate

    def take(self, frame: Any) -> None:
        """Mix a decoded frame to mono and put it in its place."""
        start = frame.time if frame.pts is not None else self.next
        if start - self.zero > self.max_seconds or self.seconds > self.max_seconds + 1:
            raise MediaError("the sound is longer than allowed", reason="too_long")
        frame.pts = None
        for part in self._mixed(frame):
            samples = part.to_ndarray()[0].astype(np.float32, copy=False)
            self._place(start, samples)
            start += len(samples) / self.rate
        self.next = start

    def skip(self, seconds: float) -> None:
        """What should come next is lost: a frame without a time of its own comes that much later."""
        self.next += seconds

    def _mixed(self, frame: Any) -> list[Any]:
        """Mono float frames at the stream's rate; a change of layout or format in the middle starts a new mixer."""
        import av

        try:
            self.mixer = self.mixer or av.AudioResampler(format="fltp", layout="mono", rate=self.rate)
            return list(self.mixer.resample(frame))
        except (ValueError, av.error.FFmpegError):
            self.mixer = av.AudioResampler(format="fltp", layout="mono", rate=self.rate)
            return list(self.mixer.resample(frame))

    def _place(self, start: float, samples: np.ndarray) -> None:
        place, slack = round((start - self.zero) * self.rate), SLACK_SECONDS * self.rate
        if not self.begun and place < 0:
            samples = samples[min(-place, len(samples)) :]
        elif place > self.filled + slack or (not self.begun and place > 0):
            self._silence(place - self.filled)
        elif place < self.filled - slack:
            samples = samples[min(self.filled - place, len(samples)) :]
        if len(samples):
            self._push(samples)

    def _silence(self, count: int) -> None:
        while count > 0:
            self._push(np.zeros(min(count, self.rate), np.float32))
            count -= self.rate

    def _push(self, samples: np.ndarray) -> None:
        self.begun = True
        self.filled += len(samples)
        for block in self.resampler.push(np.clip(np.nan_to_num(samples), -1.0, 1.0)):
            self._give(block)

    def _give(self, block: np.ndarray) -> None:
        """Collect small blocks to some of about a second."""
        self.blocks.append(block)
        self.ready += len(block)
        if self.ready >= BLOCK_SECONDS * SOUND_RATE:
            self._flush()

    def _flush(self) -> None:
        if self.blocks:
            self.emit(np.clip(np.concatenate(self.blocks), -1.0, 1.0))
        self.blocks, self.ready = [], 0

    def finish(self) -> None:
        """Give the rest."""
        for block in self.resampler.finish():
            self._give(block)
        self._flush()
