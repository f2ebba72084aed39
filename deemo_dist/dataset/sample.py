"""A sample as the files of a shard (``mp4`` without sound, ``flac``, ``cues.npy``, ``hands.npy``, ``json``); a unit."""

import functools
import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from deemo_dist.dataset.shards import Shard, ShardWriter
from deemo_dist.digests import canonical_json
from deemo_dist.errors import DatasetError
from deemo_dist.records import Annotation, Attestation, IndexRow, LedgerRow, Member, Receipt

SAMPLE_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A de-identified clip, encoded. ``video``: H.264 mp4 bytes; ``audio``: FLAC bytes or None; ``cues``: float16
    [C, K, 3] or None with ``cue_times`` float64 [C] seconds, ``hands`` float16 [C, 42, 3] at the same times or None;
    ``frame_times``: float64 [frames], where the rate varies."""

    key: str
    video: bytes
    frames: int
    fps: float
    width: int
    height: int
    subject_key: str
    source: str
    split: str
    attestation: Attestation
    audio: bytes | None = None
    audio_seconds: float = 0.0
    cues: np.ndarray | None = None
    hands: np.ndarray | None = None
    cue_times: np.ndarray | None = None
    frame_times: np.ndarray | None = None
    transcript: str | None = None
    subgroup: Mapping[str, str] = field(default_factory=dict)


def encode_cues(cues: np.ndarray) -> bytes:
    """Body cues, float16 [C, K, 3], as ``.npy`` bytes: the same for equal arrays."""
    if cues.ndim != 3 or cues.shape[2] != 3:
        raise DatasetError(f"body cues have shape {cues.shape}", hint="[steps, keypoints, 3]")
    return _npy_header(cues.shape) + np.ascontiguousarray(cues, dtype="<f2").tobytes()


@functools.lru_cache(maxsize=256)
def _npy_header(shape: tuple[int, ...]) -> bytes:
    """What stands before the values of a float16 array in a ``.npy`` file: it takes longer to make than to write."""
    sink = io.BytesIO()
    np.lib.format.write_array_header_1_0(sink, {"descr": "<f2", "fortran_order": False, "shape": shape})
    return sink.getvalue()


def sample_files(sample: Sample) -> dict[str, bytes]:
    """The members of a sample by extension, in the order they stand in the tar."""
    files = {"mp4": sample.video}
    if sample.audio is not None:
        files["flac"] = sample.audio
    if sample.cues is not None and len(sample.cues):
        files["cues.npy"] = encode_cues(sample.cues)
    if sample.hands is not None and len(sample.hands):
        files["hands.npy"] = encode_cues(sample.hands)
    files["json"] = canonical_json(_metadata(sample))
    return files


def _metadata(sample: Sample) -> dict[str, object]:
    """What stands in the sample's JSON: enough to use the shard without its index."""
    return {
        "version": SAMPLE_VERSION,
        "key": sample.key,
        "frames": sample.frames,
        "fps": sample.fps,
        "width": sample.width,
        "height": sample.height,
        "audio_seconds": sample.audio_seconds,
        "transcript": sample.transcript,
        "subject_key": sample.subject_key,
        "source": sample.source,
        "split": sample.split,
        "subgroup": dict(sample.subgroup),
        "cue_times": None if sample.cue_times is None else [round(float(time), 6) for time in sample.cue_times],
        "frame_times": None if sample.frame_times is None else [round(float(time), 6) for time in sample.frame_times],
        "attestation": sample.attestation,
    }


class UnitBuilder:
    """Collects what became of a unit's clips, and closes it into a receipt and its tar.

    Every clip is given once, to :meth:`written` or to :meth:`rejected`; :meth:`finish` refuses a unit where not.
    """

    def __init__(self, unit: int, clips: int, *, policy_digest: str, toolchain_digest: str) -> None:
        self.unit, self.clips = unit, clips
        self.policy_digest, self.toolchain_digest = policy_digest, toolchain_digest
        self._writer = ShardWriter(unit)
        self._samples: list[Sample] = []
        self._annotations: list[Annotation] = []
        self._ledger: dict[str, LedgerRow | None] = {}

    def written(self, sample: Sample, annotation: Annotation) -> None:
        """Add a de-identified sample and what is said of it. Its media are in the tar and not kept beside it."""
        if sample.attestation.policy_digest != self.policy_digest or annotation.key != sample.key:
            raise DatasetError(f"sample {sample.key} carries another policy or another key's annotation")
        self._take(sample.key, None)
        self._writer.add(sample.key, sample_files(sample))
        self._samples.append(replace(sample, video=b"", audio=None))
        self._annotations.append(annotation)

    def rejected(self, key: str, *, stage: str, reason: str) -> None:
        """Record that a clip was refused; ``stage`` and ``reason`` are short stable words."""
        self._take(key, LedgerRow(key=key, unit=self.unit, status="rejected", stage=stage, reason=reason))

    def finish(self, statistics: Mapping[str, float] | None = None) -> tuple[Receipt, Shard | None]:
        """The receipt, and the shard (None when every clip was rejected). Raises ``DatasetError`` on a gap."""
        if len(self._ledger) != self.clips:
            raise DatasetError(f"unit {self.unit}: {len(self._ledger)} of {self.clips} clips are accounted for")
        shard = self._writer.finish()
        members = shard.members if shard else {}
        name = shard.tar.name if shard else ""
        index = tuple(index_row(sample, self.unit, name, members[sample.key]) for sample in self._samples)
        offsets = {row.key: row.members[0].offset for row in index}
        ledger = tuple(row or _written_row(key, self.unit, name, offsets[key]) for key, row in self._ledger.items())
        receipt = Receipt(
            unit=self.unit,
            tar=shard.tar if shard else None,
            index=index,
            ledger=ledger,
            annotations=tuple(self._annotations),
            policy_digest=self.policy_digest,
            toolchain_digest=self.toolchain_digest,
            statistics=dict(statistics or {}),
        )
        return receipt, shard

    def _take(self, key: str, row: LedgerRow | None) -> None:
        if key in self._ledger:
            raise DatasetError(f"clip {key} is given twice in unit {self.unit}", hint="the manifest repeats a clip")
        self._ledger[key] = row


def _written_row(key: str, unit: int, shard: str, offset: int) -> LedgerRow:
    return LedgerRow(key=key, unit=unit, status="written", shard=shard, offset=offset)


def index_row(sample: Sample, unit: int, shard: str, members: tuple[Member, ...]) -> IndexRow:
    """The index row of a sample that stands in ``shard`` with these ``members``."""
    return IndexRow(
        key=sample.key,
        unit=unit,
        shard=shard,
        members=members,
        frames=sample.frames,
        fps=float(sample.fps),
        width=sample.width,
        height=sample.height,
        audio_seconds=float(sample.audio_seconds),
        characters=len(sample.transcript or ""),
        cue_frames=0 if sample.cues is None else len(sample.cues),
        subject_key=sample.subject_key,
        source=sample.source,
        split=sample.split,
        subgroup=dict(sample.subgroup),
        attestation=sample.attestation,
    )
