"""H.264 video in an MP4 without metadata: the same bytes for the same frames on one machine."""

import io
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from deemo_dist.media.types import rational_rate

CLOCK = 90_000
BT709 = 1
LIMITED = 1


def encode_video(
    frames: np.ndarray,
    fps: float | Fraction,
    *,
    times: np.ndarray | None = None,
    gop: int = 24,
    crf: int = 23,
    threads: int = 1,
    preset: str = "veryfast",
) -> bytes:
    """Encode uint8 RGB frames [T, H, W, 3] as H.264 yuv420p (BT.709) in MP4, a key frame every ``gop`` frames.

    ``fps``: frames per second; 23.976... is stored as exactly 24000/1001. ``times``: float64 [T] seconds, strictly
    increasing, for a variable frame rate (the first frame is put at 0); times that follow ``fps`` within 2 ms count as
    constant. Odd widths and heights grow by one repeated line. x264 gives other bytes with another number of
    ``threads``, so that is fixed. Raises ``ValueError`` for empty or ill-shaped frames.
    """
    frames = _checked(frames)
    rate = rational_rate(fps)
    clock, ticks = _ticks(len(frames), rate, times)
    buffer = io.BytesIO()
    container, stream = _open(buffer, frames.shape[2], frames.shape[1], rate, clock)
    context = stream.codec_context
    context.thread_count = threads
    context.gop_size = gop
    stream.options = {"crf": str(crf), "preset": preset, "x264-params": f"keyint={gop}:scenecut=0:threads={threads}"}
    with container:
        for frame in _video_frames(frames, ticks, clock):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def _checked(frames: np.ndarray) -> np.ndarray:
    """Frames with even sides; refuses anything but uint8 [T, H, W, 3]."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise ValueError(f"frames must be uint8 [T, H, W, 3], not {frames.dtype} {list(frames.shape)}")
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        return np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return frames


def _ticks(count: int, rate: Fraction, times: np.ndarray | None) -> tuple[Fraction, list[int]]:
    """The time base and each frame's time in its ticks."""
    if times is None:
        return 1 / rate, list(range(count))
    if len(times) != count or (count > 1 and not np.all(np.diff(times) > 0)):
        raise ValueError("times must be strictly increasing, one a frame")
    elapsed = np.asarray(times, np.float64) - times[0]
    if np.all(np.abs(elapsed - np.arange(count) / float(rate)) < 2e-3):
        return 1 / rate, list(range(count))
    ticks = np.rint(elapsed * CLOCK).astype(np.int64)
    return Fraction(1, CLOCK), [
        int(tick) for tick in np.maximum.accumulate(ticks - np.arange(count)) + np.arange(count)
    ]


def _open(buffer: io.BytesIO, width: int, height: int, rate: Fraction, clock: Fraction) -> tuple[Any, Any]:
    """An MP4 writer without creation time or encoder tag, and its video stream."""
    import av

    container = av.open(buffer, "w", format="mp4", container_options={"fflags": "+bitexact", "use_editlist": "1"})
    stream: Any = container.add_stream("libx264", rate=rate)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.time_base = clock
    context = stream.codec_context
    context.time_base = clock
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.color_range = LIMITED
    return container, stream


def _video_frames(frames: np.ndarray, ticks: list[int], clock: Fraction) -> Iterator[Any]:
    import av
    from av.video.reformatter import Colorspace, VideoReformatter

    convert = VideoReformatter()
    for image, tick in zip(frames, ticks, strict=True):
        rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = convert.reformat(
            rgb, format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range="MPEG", threads=1
        )
        frame.pts, frame.time_base = tick, clock
        yield frame
