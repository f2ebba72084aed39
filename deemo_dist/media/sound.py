"""Sound: FLAC in and out, and a playable MP4 with sound."""

import io
from fractions import Fraction
from functools import partial
from itertools import takewhile
from typing import Any

import numpy as np

from deemo_dist.errors import CorruptDataError

RATE = 16_000
BLOCK = 1 << 20


class FlacWriter:
    """Mono 16-bit FLAC at ``rate`` Hz, block by block: the same bytes whatever the blocks. Level is kept (no
    normalisation: loudness is a cue); samples beyond [-1, 1] are clipped. ``samples``: written so far."""

    def __init__(self, rate: int = RATE) -> None:
        import soundfile

        self._buffer = io.BytesIO()
        self._file = soundfile.SoundFile(self._buffer, "w", rate, 1, format="FLAC", subtype="PCM_16")
        self.samples = 0

    def write(self, samples: np.ndarray) -> None:
        """The next samples, float [N]. Raises ``ValueError`` unless they are finite and one-dimensional."""
        if samples.ndim != 1 or not np.all(np.isfinite(samples)):
            raise ValueError("a waveform must be one-dimensional and finite")
        self.samples += len(samples)
        self._file.write(np.clip(np.rint(samples.astype(np.float64) * 32768), -32768, 32767).astype(np.int16))

    def close(self) -> bytes:
        """Finish the file; its content."""
        self._file.close()
        return self._buffer.getvalue()


def encode_flac(waveform: np.ndarray, rate: int = RATE) -> bytes:
    """Encode a mono float32 waveform [N] in [-1, 1] as 16-bit FLAC at ``rate`` Hz, as ``FlacWriter`` does.

    Raises ``ValueError`` unless the waveform is 1-D and finite.
    """
    writer = FlacWriter(rate)
    for start in range(0, len(waveform) or 1, BLOCK):
        writer.write(waveform[start : start + BLOCK])
    return writer.close()


def decode_flac(data: bytes, rate: int = RATE) -> np.ndarray:
    """Decode mono FLAC to float32 [N] in [-1, 1]. Raises ``CorruptDataError`` if unreadable or of another form."""
    import soundfile

    try:
        samples, found = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise CorruptDataError(f"the sound of a sample cannot be decoded ({error})") from None
    if found != rate or samples.shape[1] != 1:
        raise CorruptDataError(f"the sound of a sample is {found} Hz x {samples.shape[1]}, not {rate} Hz mono")
    return np.ascontiguousarray(samples[:, 0])


def mux(mp4: bytes, waveform: np.ndarray, rate: int, *, bit_rate: int = 96_000, seconds: float | None = None) -> bytes:
    """Add a mono waveform as AAC to an MP4, its video copied untouched: for a player, not for a model.

    Sample 0 is heard with the first frame; of a longer clip the first ``seconds`` are kept (None: all). Raises
    ``MediaError`` if ``mp4`` is not readable.
    """
    import av

    from deemo_dist.media.container import open_media, video_stream

    buffer = io.BytesIO()
    options = {"fflags": "+bitexact"}
    with open_media(mp4) as source, av.open(buffer, "w", format="mp4", container_options=options) as target:
        video_in = video_stream(source)
        video_out = target.add_stream_from_template(video_in)
        sound_out: Any = target.add_stream("aac", rate=rate, layout="mono")
        sound_out.codec_context.bit_rate = bit_rate
        sound_out.codec_context.thread_count = 1
        sound_out.options = {"aac_coder": "fast"}
        for packet in takewhile(partial(_before, seconds), source.demux(video_in)):
            if packet.size:
                packet.stream = video_out
                target.mux(packet)
        heard = waveform if seconds is None else waveform[: round(seconds * rate)]
        target.mux([packet for frame in _audio_frames(heard, rate) for packet in sound_out.encode(frame)])
        target.mux(sound_out.encode(None))
    return buffer.getvalue()


def _before(seconds: float | None, packet: Any) -> bool:
    """Whether a packet is decoded before ``seconds``: what those before it need is then among them."""
    return seconds is None or packet.dts is None or packet.dts * packet.time_base < seconds


def _audio_frames(waveform: np.ndarray, rate: int, block: int = 1024) -> list[Any]:
    """Float planar mono frames of ``block`` samples with true times."""
    import av

    frames = []
    for start in range(0, len(waveform), block):
        samples = np.ascontiguousarray(waveform[None, start : start + block], np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate, start
        frame.time_base = Fraction(1, rate)
        frames.append(frame)
    return frames
