"""H.264 video in an MP4 without metadata, frame by frame: the same bytes for the same frames on one machine."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from deemo_dist.media.types import VideoInfo, rational_rate

CLOCK = 90_000
STEADY = 2e-3
LARGE = 1280 * 720  # pixels: beyond it the encoder looks less far ahead, for it holds what it looks at
BT709 = 1
LIMITED = 1


class VideoWriter:
    """Encodes uint8 RGB frames as H.264 yuv420p (BT.709) in MP4, a key frame every ``gop`` frames, without metadata, in
    memory of a few frames. A ``FrameSink``; a context manager that throws away what was not closed.

    ``target``: a path, or a binary file that can be written, sought and read. Frames whose times follow their rate
    within 2 ms are put at exact multiples of it, others at their own times (the first one at 0). Odd widths and heights
    grow by one repeated line. x264 gives other bytes with another number of ``threads``, so that is fixed.
    """

    def __init__(
        self, target: Path | BinaryIO, *, gop: int = 24, crf: int = 25, threads: int = 1, preset: str = "veryfast"
    ) -> None:
        self._target, self._gop, self._crf, self._threads, self._preset = target, gop, crf, threads, preset
        self._container: Any = None
        self._stream: Any = None
        self._convert: Any = None
        self._size = (0, 0)
        self._written = 0

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._container is not None:
            self._let_go()

    def _clear(self) -> None:
        """Begin with an empty file."""
        if self._container is not None:
            self._let_go()
        self._written = 0
        if not isinstance(self._target, Path):
            self._target.seek(0)
            self._target.truncate()

    def _let_go(self) -> None:
        """Close the file, and give back what the encoder holds."""
        self._container.close()
        self._container = self._stream = self._convert = None

    def begin(self, *, width: int, height: int, fps: float | Fraction, times: np.ndarray) -> None:
        """Before the first frame: its size, the average rate (23.976... is stored as exactly 24000/1001) and when each
        frame is shown (float64 [T] seconds). What was written before is thrown away. Raises ``ValueError`` for what
        makes no sense."""
        from av.video.reformatter import VideoReformatter

        self._clear()
        if width < 1 or height < 1:
            raise ValueError(f"frames of {width} x {height} pixels make no video")
        rate = rational_rate(fps)
        self._clock, self._ticks = _ticks(rate, np.asarray(times, np.float64))
        self._size = (width, height)
        self._convert = VideoReformatter()
        self._open(rate)

    def _open(self, rate: Fraction) -> None:
        """An MP4 without creation time or encoder tag, and its video stream."""
        import av

        options = {"fflags": "+bitexact", "use_editlist": "1"}
        target = str(self._target) if isinstance(self._target, Path) else self._target
        self._container = av.open(target, "w", format="mp4", container_options=options)
        stream: Any = self._container.add_stream("libx264", rate=rate)
        stream.width, stream.height = (side + side % 2 for side in self._size)
        stream.pix_fmt, stream.time_base = "yuv420p", self._clock
        context = stream.codec_context
        context.time_base = self._clock
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED
        context.thread_count = self._threads
        context.gop_size = self._gop
        # x264's macroblock tree gives other bytes now and then for the same small pictures; without it a crf of 25 is
        # as good and as large as 23 with it
        x264 = f"keyint={self._gop}:scenecut=0:no-mbtree=1:threads={self._threads}"
        x264 += ":rc-lookahead=2" if self._size[0] * self._size[1] > LARGE else ""
        stream.options = {"crf": str(self._crf), "preset": self._preset, "x264-params": x264}
        self._stream = stream

    def write(self, frame: np.ndarray, time: float | None = None) -> None:
        """The next frame, uint8 [H, W, 3]; its ``time`` is the one that :meth:`begin` was told. Raises ``ValueError``
        for another shape, or one frame too many."""
        import av
        from av.video.reformatter import Colorspace

        width, height = self._size
        if frame.dtype != np.uint8 or frame.shape != (height, width, 3):
            raise ValueError(f"a frame must be uint8 {[height, width, 3]}, not {frame.dtype} {list(frame.shape)}")
        if self._written >= len(self._ticks):
            raise ValueError(f"more than the {len(self._ticks)} frames that were announced")
        if height % 2 or width % 2:
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        rgb = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(frame), format="rgb24")
        shown = self._convert.reformat(
            rgb, format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range="MPEG", threads=1
        )
        shown.pts, shown.time_base = self._ticks[self._written], self._clock
        self._written += 1
        self._container.mux(self._stream.encode(shown))

    def close(self) -> VideoInfo:
        """Finish the file; its facts, as a reader finds them. Raises ``ValueError`` where frames are missing."""
        from deemo_dist.media.container import probe

        if self._container is None or self._written != len(self._ticks):
            raise ValueError(f"{self._written} frames were written, not as many as were announced")
        self._container.mux(self._stream.encode(None))
        self._let_go()
        return probe(self._target)

    def shown(self, number: int) -> np.ndarray:
        """Frame ``number`` of the closed file, as a reader decodes it: uint8 [H, W, 3], odd sides grown; no more of the
        file is read than its facts and the pictures from the key frame on. Raises ``IndexError`` for a frame that is
        not there, ``CorruptDataError`` where the file cannot be read."""
        from deemo_dist.media.sampling import frame_at

        if not 0 <= number < len(self._ticks):
            raise IndexError(f"frame {number} of a video with {len(self._ticks)} frames")
        return frame_at(self._target, int(self._ticks[number]) * self._clock)


def encode_video(
    frames: np.ndarray,
    fps: float | Fraction,
    *,
    times: np.ndarray | None = None,
    gop: int = 24,
    crf: int = 25,
    threads: int = 1,
    preset: str = "veryfast",
) -> bytes:
    """Encode uint8 RGB frames [T, H, W, 3] at ``fps`` frames per second, as ``VideoWriter`` does.

    ``times``: float64 [T] seconds, strictly increasing, for a variable frame rate. Raises ``ValueError`` for empty or
    ill-shaped frames.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise ValueError(f"frames must be uint8 [T, H, W, 3], not {frames.dtype} {list(frames.shape)}")
    if times is None:
        times = np.arange(len(frames)) / float(rational_rate(fps))
    if len(times) != len(frames):
        raise ValueError("times must be strictly increasing, one a frame")
    buffer = io.BytesIO()
    with VideoWriter(buffer, gop=gop, crf=crf, threads=threads, preset=preset) as writer:
        writer.begin(width=frames.shape[2], height=frames.shape[1], fps=fps, times=times)
        for frame in frames:
            writer.write(frame)
        writer.close()
    return buffer.getvalue()


def _ticks(rate: Fraction, times: np.ndarray) -> tuple[Fraction, np.ndarray]:
    """The time base and each frame's time in its ticks (int64)."""
    if not len(times) or not np.all(np.isfinite(times)) or not np.all(np.diff(times) > 0):
        raise ValueError("times must be strictly increasing, one a frame")
    count = np.arange(len(times))
    if steady(times, rate):
        return 1 / rate, count
    ticks = np.rint((times - times[0]) * CLOCK).astype(np.int64)
    return Fraction(1, CLOCK), np.maximum.accumulate(ticks - count) + count


def steady(times: np.ndarray, fps: Fraction) -> bool:
    """Whether frames at ``times`` (float64 [T] seconds) follow the rate ``fps`` within 2 ms."""
    return bool(np.all(np.abs(times - times[0] - np.arange(len(times)) / float(fps)) < STEADY))
