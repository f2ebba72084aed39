"""One clip through all of it: looked at, then masked, audited and written in a second pass. Where the audit sees a face
that pass is made again with more masked. Fails closed."""

import gc
import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from deemo_dist.config import NfblTypeConfig, PolicyConfig
from deemo_dist.deid import runtime
from deemo_dist.deid.attest import attestation
from deemo_dist.deid.audit.detectors import FullRange
from deemo_dist.deid.audit.faces import ClipAudit, FaceAudit, worst
from deemo_dist.deid.body import cues as body
from deemo_dist.deid.body import nfbl
from deemo_dist.deid.body.people import BodyModels, BodyScan
from deemo_dist.deid.faces import masking
from deemo_dist.deid.faces.captions import CaptionScan
from deemo_dist.deid.faces.cover import cover_clip
from deemo_dist.deid.faces.detectors import BlazeFace, FaceDetector
from deemo_dist.deid.faces.mending import mended
from deemo_dist.deid.faces.scan import FaceModels, FaceScan
from deemo_dist.deid.faces.text import PaddleText, TextDetector
from deemo_dist.deid.findings import Heard, Released, Seen, Voice
from deemo_dist.deid.gates import check_audit, check_heads, check_picture, check_sync
from deemo_dist.deid.keys import KeyRing
from deemo_dist.deid.meter import Meter
from deemo_dist.deid.policy import policy_gate
from deemo_dist.deid.text.spoken import Words
from deemo_dist.deid.voice.disguise import disguise_into
from deemo_dist.errors import DeidError
from deemo_dist.media import ClipSource, FlacWriter, FrameSink, Sound, VideoInfo
from deemo_dist.records import Attestation, Clip, NfblEvent

RAW_SAMPLE = 4  # bytes
LARGE = 1280 * 720  # pixels: beyond it the frames on their way take as much memory as the models do
MENDS = 2  # times that what the audit saw is masked, before the frames are
LONG = 30.0  # seconds: beyond it loading a model again costs nothing against all else


@dataclass(frozen=True, kw_only=True)
class DeidResult:
    """What may leave the process besides the masked frames, which went to the sink.

    ``video``: facts of what the sink wrote, ``frame_times`` float64 [T] seconds of its frames; ``flac``: the sound,
    ``samples`` at 16 kHz mono, None and 0 without; ``cues``: float16 [T, 22, 3] and ``hands`` float16 [T, 42, 3] (None:
    no hand was large enough) at ``frame_times``; ``nfbl``: proposed events; ``transcript`` and ``texts`` scrubbed.
    """

    video: VideoInfo
    frame_times: np.ndarray
    flac: bytes | None
    samples: int
    cues: np.ndarray
    hands: np.ndarray | None
    nfbl: tuple[NfblEvent, ...]
    transcript: str | None
    texts: dict[str, str]
    attestation: Attestation


@dataclass
class Deidentifier:
    """Loads its models once (in a worker) and de-identifies clips one by one; the same input gives the same bytes.

    Memory does not grow with a clip's length but by its tracks and its words, and by the encoded sound that is
    released. ``ontology``: rules by which body language is proposed. ``meter``: what the stages cost so far.
    """

    policy: PolicyConfig
    ring: KeyRing
    ontology: Mapping[str, NfblTypeConfig] = field(default_factory=dict)
    meter: Meter = field(default_factory=Meter)

    def __post_init__(self) -> None:
        """Raises ``ConfigError`` for a policy that refuses the key, ``WeightsError`` for a missing weight."""
        import cv2

        policy_gate(self.policy, self.ring, allow_weak=True)  # whether a weak policy is wanted is the run's question
        nfbl.check_ontology(self.ontology)
        cv2.setNumThreads(1)
        runtime.give_memory_back()
        self.faces = FaceModels.of(self.policy)
        self.texts: TextDetector | None = PaddleText() if self.policy.captions == "mask" else None
        self.body = BodyModels()
        self.auditor: FaceDetector = BlazeFace()
        self.small: FaceDetector = FullRange()
        self.words = Words(self.policy)
        gc.collect()
        runtime.trim()

    def __call__(self, clip: Clip, source: ClipSource, sink: FrameSink) -> DeidResult:
        """De-identify one clip: masked frames go to ``sink``, which is closed; all else is returned.

        Raises ``DeidError`` or ``MediaError`` with a stage and reason for the ledger (what the sink has got by then
        must be thrown away). Any other fault of a stage becomes one, so that no raw text or path leaves in a message.
        """
        info = source.info
        check_picture(info)
        self._make_room(info)
        seen = self.look(source)
        self._make_room(info)
        check_heads(seen.cover.uncertain, len(seen.bodies.poses), self.policy, others=seen.cover.unclear_spans)
        heard = self._hear(clip, source)
        self._make_room(info)
        released = self.release(source, sink, seen)
        check_audit(released.checked, self.policy.gates)
        sync = check_sync(info, seen.times, released.video, heard.sound)
        found = self.meter.run("body", self._movement, seen)
        return DeidResult(
            video=released.video,
            frame_times=seen.times,
            flac=None if heard.sound is None else heard.sound.flac,
            samples=0 if heard.sound is None else heard.sound.samples,
            cues=found[0],
            hands=found[1],
            nfbl=found[2],
            transcript=heard.spoken.transcript,
            texts=heard.spoken.texts,
            attestation=attestation(self.policy, self.ring.key_id, seen, heard, released, found[0], sync),
        )

    def _make_room(self, info: VideoInfo) -> None:
        """Between the stages of a long clip with large pictures: let go of every model, and of what the stage before
        took, for no stage needs all of them. The next one loads its own again (a second at most)."""
        if _needs_room(info):
            self.words.rest()
            runtime.Network.put_away()
            gc.collect()
            runtime.trim()

    def look(self, source: ClipSource) -> Seen:
        """The first pass. Bodies are looked for here, before masking: pose needs the face."""
        meter, times = self.meter, list[float]()
        people, faces = BodyScan(self.body), FaceScan(self.policy, self.faces)
        texts = CaptionScan(self.policy, self.texts) if self.texts is not None else None
        for number, time, frame in meter.each("decode", source.frames()):
            times.append(time)
            meter.count("decode", bytes=frame.nbytes)
            meter.run("body", people.see, number, time, frame)
            meter.run("faces", faces.see, number, time, frame)
            if texts is not None:
                meter.run("captions", texts.see, number, time, frame)
        if not times:
            raise DeidError("the clip has no picture", stage="decode", reason="no_video")
        bodies, tracks = meter.run("body", people.finish), meter.run("faces", faces.finish)
        boxes = meter.run("captions", texts.finish) if texts is not None else []
        shown, size = np.array(times, np.float64), (source.info.width, source.info.height)
        cover = meter.run("faces", cover_clip, tracks, bodies, boxes, self.policy, times=shown, size=size)
        return Seen(shown, cover, bodies)

    def _hear(self, clip: Clip, source: ClipSource) -> Heard:
        """Words first: what they say must not be heard is silenced before the voice is disguised."""
        raw, rate = self.meter.run("decode", source.sound) or (None, 1)
        self.words.sparing = _needs_room(source.info)
        spoken = self.meter.run("words", self.words, clip.transcript, clip.texts, (clip.subject,), raw, rate)
        self._make_room(source.info)
        if raw is None:
            return Heard(spoken, None, 0.0)
        voice = self.meter.run("voice", self._disguised, raw, rate, self.ring.voice_seed(clip.uri), spoken.mutes)
        self.meter.count("voice", bytes=RAW_SAMPLE * len(raw))
        return Heard(spoken, voice, len(raw) / rate)

    def _disguised(self, raw: Sound, rate: int, seed: int, mutes: Sequence[tuple[float, float]]) -> Voice | None:
        """The sound after disguise, encoded as it is made; None where none is left."""
        writer = FlacWriter()
        figures = disguise_into(raw, rate, writer.write, method=self.policy.voice, seed=seed, mutes=mutes)
        flac = writer.close()
        return None if figures is None else Voice(flac, writer.samples, figures)

    def release(self, source: ClipSource, sink: FrameSink, seen: Seen) -> Released:
        """The second pass: every frame masked, audited and written. Where the audit sees a face open, that is masked as
        well and the pass made again, until it sees none; from the third time on the frames are masked whole, so that
        this ends. The gate judges the worst of the passes. In the end a few of the frames written are read again."""
        info, regions = source.info, seen.cover.regions
        whole = np.array([0.0, 0.0, info.width, info.height])
        rates = list[FaceAudit]()
        while True:
            audit = self._write(source, sink, seen, regions)
            openings = self.meter.run("audit", audit.openings)
            rates.append(audit.finish(None))
            if not openings:
                break
            if len(rates) > MENDS:
                openings = [replace(each, box=whole) for each in openings]
            regions = mended(regions, openings, dilate=self.policy.dilate, width=info.width, height=info.height)
        video = self.meter.run("encode", sink.close)
        checked = self.meter.run("audit", audit.finish, sink.shown)
        return Released(
            video=video,
            checked=worst(checked, rates),
            masked_area=_masked_area(seen.cover.regions, info),
            mended=sum(now is not before for now, before in zip(regions, seen.cover.regions, strict=True)),
        )

    def _write(self, source: ClipSource, sink: FrameSink, seen: Seen, regions: Sequence[np.ndarray]) -> ClipAudit:
        """One pass: every frame with its ``regions`` masked goes to the audit and to the sink."""
        meter, info = self.meter, source.info
        shown = with_face(seen.cover.detected, self.policy.detect_every)
        audit = ClipAudit(self.policy, self.auditor, detected=shown, small=self.small, text=self.texts)
        meter.run("encode", sink.begin, width=info.width, height=info.height, fps=info.fps, times=seen.times)
        for number, time, frame in meter.each("decode", source.frames()):
            masked = meter.run("faces", masking.mask, frame[None], [regions[number]], kind=self.policy.faces)[0]
            meter.run("audit", audit.see, number, time, frame, masked, regions[number])
            meter.run("encode", sink.write, masked, time)
        return audit

    def _movement(self, seen: Seen) -> tuple[np.ndarray, np.ndarray | None, tuple[NfblEvent, ...]]:
        """Body cues, hand cues and proposed events; facial landmarks end here."""
        bodies, times = seen.bodies, seen.times
        return body.cues(bodies, times), body.hand_cues(bodies, times), nfbl.propose(bodies, times, self.ontology)


def with_face(detected: Collection[int], every: int) -> frozenset[int]:
    """Frames that show a face for certain: those in which one was seen, and those between two such neighbours."""
    seen = sorted(detected)
    near = [pair for pair in itertools.pairwise(seen) if pair[1] - pair[0] <= every]
    return frozenset(seen).union(*(range(first, second) for first, second in near))


def _needs_room(info: VideoInfo) -> bool:
    """Whether a clip's frames on their way take as much memory as models do, and loading these again costs nothing."""
    return info.width * info.height > LARGE and info.seconds > LONG


def _masked_area(regions: Sequence[np.ndarray], info: VideoInfo) -> float:
    """The mean share of a frame that is masked; regions that stay are measured once."""
    total, last, share = 0.0, np.zeros((0, 4), np.int64), 0.0
    for boxes in regions:
        if not np.array_equal(boxes, last):
            last, share = boxes, masking.masked_share([boxes], info.width, info.height)
        total += share
    return total / max(1, len(regions))
