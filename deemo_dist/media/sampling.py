"""Which frames of a clip a model sees, and reading only those out of our own MP4s."""

import io
import itertools
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from deemo_dist.errors import CorruptDataError


def sample_indices(frames: int, count: int) -> np.ndarray:
    """``count`` frame numbers (int64) evenly spread over ``frames``: the middle of each of ``count`` equal bins.

    Fewer frames than ``count`` repeat some. Raises ``ValueError`` unless both are positive.
    """
    if frames < 1 or count < 1:
        raise ValueError(f"cannot take {count} of {frames} frames")
    return ((2 * np.arange(count, dtype=np.int64) + 1) * frames) // (2 * count)


def decode_frames(mp4: bytes, indices: np.ndarray | None = None, *, times: np.ndarray | None = None) -> np.ndarray:
    """Decode the wanted frames of one of our videos: uint8 RGB [len(wanted), H, W, 3], in the order asked for.

    ``indices`` counts frames from 0 in order of showing, or ``times`` (seconds) takes the frame shown at each time.
    Only the groups of pictures that hold a wanted frame are decoded, up to its last one. Raises
    ``CorruptDataError`` if the video does not decode, ``IndexError`` for a frame that is not there.
    """
    import av

    try:
        with av.open(io.BytesIO(mp4), "r", options={"format_whitelist": "mov"}) as container:
            stream = next(iter(container.streams.video), None)
            if stream is None:
                raise ValueError("no video")
            packets = [packet for packet in container.demux(stream) if packet.size]
            shown = np.sort(np.array([packet.pts for packet in packets], np.int64))
            wanted = shown[_positions(shown, float(stream.time_base or 0), indices, times)]
            images = _decode_groups(stream.codec_context, packets, set(wanted.tolist()))
            return np.stack([images[pts] for pts in wanted.tolist()])
    except (av.error.FFmpegError, KeyError, TypeError, ValueError) as error:
        raise CorruptDataError(f"the video of a sample cannot be decoded ({type(error).__name__})") from None


def frame_at(source: Path | BinaryIO, time: Fraction) -> np.ndarray:
    """The frame of one of our videos that is shown from ``time`` (seconds after the first) on: uint8 RGB [H, W, 3].

    Sought, not searched: memory of a few pictures, whatever the file's length. Raises ``CorruptDataError`` if the video
    does not decode or shows no frame from then on.
    """
    import av
    from av.video.reformatter import VideoReformatter

    if not isinstance(source, Path):
        source.seek(0)
    name: Any = f"file:{source.absolute()}" if isinstance(source, Path) else source
    try:
        with av.open(name, "r", options={"format_whitelist": "mov", "protocol_whitelist": "file"}) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            wanted = (stream.start_time or 0) + round(time / (stream.time_base or 1))
            container.seek(wanted, stream=stream)
            for frame in container.decode(stream):
                if frame.pts == wanted:
                    return VideoReformatter().reformat(frame, format="rgb24", threads=1).to_ndarray()
                if frame.pts is None or frame.pts > wanted:
                    break
    except (av.error.FFmpegError, IndexError, TypeError, ValueError) as error:
        raise CorruptDataError(f"the video of a sample cannot be decoded ({type(error).__name__})") from None
    raise CorruptDataError(f"the video of a sample shows no frame from {float(time):.3f} s on")


def _positions(shown: np.ndarray, tick: float, indices: np.ndarray | None, times: np.ndarray | None) -> np.ndarray:
    """Frame numbers wanted, by number or by time."""
    if times is not None:
        elapsed = (shown - shown[0]) * tick
        return np.clip(np.searchsorted(elapsed, np.asarray(times) + 1e-6, side="right") - 1, 0, len(shown) - 1)
    found = np.arange(len(shown)) if indices is None else np.asarray(indices, np.int64)
    if len(found) and (found.min() < 0 or found.max() >= len(shown)):
        raise IndexError(f"frame {int(found.max())} of a video with {len(shown)} frames")
    return found


def _decode_groups(context: Any, packets: list[Any], wanted: set[int]) -> dict[int, np.ndarray]:
    """Decode each group of pictures (from a key frame to the next) that has a wanted frame: image by time stamp."""
    from av.video.reformatter import VideoReformatter

    context.thread_count = 1
    convert = VideoReformatter()
    images: dict[int, np.ndarray] = {}
    starts = [number for number, packet in enumerate(packets) if packet.is_keyframe] + [len(packets)]
    for start, end in itertools.pairwise(starts):
        group = packets[start:end]
        missing = wanted.intersection(packet.pts for packet in group)
        if not missing:
            continue
        for packet in [*group, None]:
            for frame in context.decode(packet):
                if frame.pts in missing:
                    missing.discard(frame.pts)
                    images[frame.pts] = convert.reformat(frame, format="rgb24", threads=1).to_ndarray()
            if not missing:
                break
        context.flush_buffers()
    return images


def poster(mp4: bytes, *, at: float = 0.5, width: int | None = None) -> bytes:
    """A PNG of the frame at the share ``at`` (0..1) of the video, scaled to ``width`` pixels if given."""
    from PIL import Image

    from deemo_dist.media.container import probe

    frames = probe(mp4).frames
    image = Image.fromarray(decode_frames(mp4, np.array([min(int(at * frames), frames - 1)]))[0])
    if width is not None:
        image = image.resize((width, max(1, round(image.height * width / image.width))))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
