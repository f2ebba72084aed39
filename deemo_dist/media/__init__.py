"""Media: probing, decoding (in a sandbox child), encoding, sampled reading. PyAV (FFmpeg) is loaded when first used."""

from deemo_dist.media.container import probe
from deemo_dist.media.decode import decode_here
from deemo_dist.media.encode import VideoWriter, encode_video, steady
from deemo_dist.media.resampling import resample
from deemo_dist.media.sampling import decode_frames, poster, sample_indices
from deemo_dist.media.sandbox import Sandbox
from deemo_dist.media.sound import FlacWriter, decode_flac, encode_flac, mux
from deemo_dist.media.soundtrack import SOUND_RATE
from deemo_dist.media.source import MemoryClip
from deemo_dist.media.tape import Sound, Tape
from deemo_dist.media.types import Bounds, ClipSource, DecodedClip, FrameSink, VideoInfo, rational_rate

__all__ = [
    "SOUND_RATE",
    "Bounds",
    "ClipSource",
    "DecodedClip",
    "FlacWriter",
    "FrameSink",
    "MemoryClip",
    "Sandbox",
    "Sound",
    "Tape",
    "VideoInfo",
    "VideoWriter",
    "decode_flac",
    "decode_frames",
    "decode_here",
    "encode_flac",
    "encode_video",
    "mux",
    "poster",
    "probe",
    "rational_rate",
    "resample",
    "sample_indices",
    "steady",
]
