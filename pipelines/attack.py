"""Clips of a data set put before the attackers: what is released, read back out of the shards, beside the raw clip.

Raw clips are read in this process and its sandbox child alone. Templates and waveforms stay in memory.
"""

import io
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from deemo_dist.config import RunConfig
from deemo_dist.console import progress
from deemo_dist.deid.audit import names as of_names
from deemo_dist.deid.audit import utility
from deemo_dist.deid.audit.clip import CONTROLS, ClipFinding, ClipObserver
from deemo_dist.deid.audit.coverage import Boxes, boxes_by_key
from deemo_dist.deid.audit.detectors import FullRange, auditors
from deemo_dist.deid.audit.identity import FaceReader
from deemo_dist.deid.audit.speakers import FEWEST_SPEAKERS, FEWEST_UTTERANCES
from deemo_dist.deid.body.cues import cues, pixel_cues
from deemo_dist.deid.body.people import POSE_SECONDS, BodyModels, BodyScan
from deemo_dist.errors import MediaError, StorageError
from deemo_dist.media import Bounds, ClipSource, Sandbox, decode_flac, resample
from deemo_dist.records import Annotation, Clip, IndexRow
from pipelines.private import fetch_raw, hiding_clip, private_folder
from pipelines.released import Released
from pipelines.sounds import RATE, Heard, Sounds

POSE_LOOKS = 64


@dataclass(frozen=True)
class Movement:
    """Body cues [T, K, 3] of one clip of ``subject``: as ``stored``, and in ``pixels``, not normalised."""

    subject: str
    stored: np.ndarray
    pixels: np.ndarray


@dataclass(kw_only=True)
class Findings:
    """What was found in the clips looked at; ``sounds`` for attacks on voices and words; ``movements`` for one on cues;
    ``lost``: raw clips that could not be read any more; ``boxes``: true boxes given, of whatever clips."""

    clips: list[ClipFinding] = field(default_factory=list)
    sounds: Sounds = field(default_factory=Sounds)
    movements: list[Movement] = field(default_factory=list)
    utility: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    lost: int = 0
    boxes: int = 0


def chosen(rows: Sequence[IndexRow], limit: int) -> list[IndexRow]:
    """At most ``limit`` rows: two clips of every person first, then one more of each, and so on, in the order of their
    keys (which are keyed hashes, so it is as good as a draw). Where half of the limit allows it, before all others as
    many clips of as many people as an attack on voices needs."""
    by_person: dict[str, list[IndexRow]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.key):
        by_person[row.subject_key].append(row)
    people = sorted(by_person.values(), key=lambda own: (len(own) < 2, own[0].subject_key))
    talkers = [place for place, own in enumerate(people) if len(own) >= FEWEST_UTTERANCES][:FEWEST_SPEAKERS]
    if len(talkers) < FEWEST_SPEAKERS or limit < 2 * FEWEST_SPEAKERS * FEWEST_UTTERANCES:
        talkers = []
    order = [
        (-1 if place in talkers and turn < FEWEST_UTTERANCES else max(0, turn - 1), place, row)
        for place, own in enumerate(people)
        for turn, row in enumerate(own)
    ]
    return [row for _, _, row in sorted(order, key=lambda item: item[:2])[:limit]]


class Attacker:
    """Holds the audit's models. ``raw``: manifest rows by sample key, empty without the raw manifest; ``thorough``:
    look at what is only for a reader of the report too (other maskings, sounds, keypoints found again, a still of each
    clip).
    Raises ``DatasetError`` for true ``boxes`` that do not fit the clips."""

    def __init__(
        self,
        config: RunConfig,
        released: Released,
        raw: Mapping[str, Clip],
        *,
        boxes: Boxes,
        thorough: bool,
    ) -> None:
        import cv2

        cv2.setNumThreads(1)
        self._config = config
        self._released = released
        self._raw = raw
        self._boxes = boxes_by_key(boxes, raw, released.rows)
        self._thorough = thorough
        self._detector = auditors()
        self._small = FullRange()
        self._reader = FaceReader() if raw else None
        self._bodies = BodyModels() if raw and thorough else None
        self._bounds = Bounds.of(config.policy)

    def look(self, rows: Sequence[IndexRow]) -> Findings:
        """Every clip in turn. Raises ``DatasetError`` or ``CorruptDataError`` where a sample of them cannot be read."""
        findings = Findings(boxes=sum(len(found) for clip in self._boxes.values() for found in clip.values()))
        with Sandbox() as sandbox, progress("audit", len(rows), unit="clips") as bar:
            for row in rows:
                self._take(row, sandbox, findings)
                bar.advance(1)
        return findings

    def _take(self, row: IndexRow, sandbox: Sandbox, findings: Findings) -> None:
        """One clip, whose raw file is in a private temporary folder that is gone afterwards."""
        clip = self._raw.get(row.key)
        if clip is None:
            findings.clips.append(self._observe(row, None, {}))
            return
        chosen = self._config.execution.raw_folder
        with private_folder(chosen) as folder, hiding_clip(clip):
            label = f"the raw clip of {row.key}"
            try:
                path = fetch_raw(clip, self._config.storage, folder / row.key, label=label)
                source = sandbox.open(path, self._bounds)
                finding = self._observe(row, source, self._boxes.get(row.key, {}))
                heard = self._hear(row, source) if self._thorough else None
                self._move(row, source, findings)
            except (MediaError, StorageError):
                findings.lost += 1
                return
        findings.clips.append(finding)
        if heard is not None:
            findings.sounds.keep(row.key, heard)
            for name, value in utility.sound_figures(heard.raw, heard.released).items():
                findings.utility[name].append(value)

    def _observe(self, row: IndexRow, source: ClipSource | None, boxes: Mapping[int, np.ndarray]) -> ClipFinding:
        """Wanted frames by number, raw beside released."""
        observer = ClipObserver(
            self._detector,
            self._reader,
            frames=row.frames,
            boxes=boxes,
            controls=CONTROLS if self._thorough else (),
            small=self._small,
            known=row.attestation.frames_with_face > 0,
            still=self._thorough,
        )
        numbers = sorted(observer.wanted)
        released = self._released.frames(row, numbers)
        for (number, before), after in zip(_raw_frames(source, numbers), released, strict=False):
            observer.see(number, *_alike(before, after))
        return observer.finish(row.key, row.subject_key)

    def _move(self, row: IndexRow, source: ClipSource, findings: Findings) -> None:
        """Cues as they are stored and as they were in pixels, and how far pose on the release finds them again."""
        if self._bodies is None or not any(member.extension == "cues.npy" for member in row.members):
            return
        stored = np.load(io.BytesIO(self._released.member(row, "cues.npy")), allow_pickle=False)
        scan, times = BodyScan(self._bodies), []
        for number, time, frame in source.frames():
            scan.see(number, time, frame)
            times.append(time)
        findings.movements.append(Movement(row.subject_key, stored, pixel_cues(scan.finish(), np.array(times))))
        numbers = np.arange(0, min(row.frames, len(times), len(stored)), max(1, round(row.fps * POSE_SECONDS)))
        again, when = BodyScan(self._bodies), np.array(times)[numbers[:POSE_LOOKS]]
        for place, frame in enumerate(self._released.frames(row, numbers[:POSE_LOOKS].tolist())):
            again.see(place, float(when[place]), frame)
        kept = utility.keypoint_agreement(stored[numbers[:POSE_LOOKS]], cues(again.finish(), when))
        if kept is not None:
            findings.utility["keypoint_agreement"].append(kept)

    def _hear(self, row: IndexRow, source: ClipSource) -> Heard | None:
        """The sound before and after; None where one has none."""
        before = source.sound()  # an attacker has all of it in hand
        if before is None or not any(member.extension == "flac" for member in row.members):
            return None
        after = decode_flac(self._released.member(row, "flac"))
        return Heard(raw=resample(before[0][:], before[1], RATE), released=after)


def _raw_frames(source: ClipSource | None, numbers: Sequence[int]) -> Iterator[tuple[int, np.ndarray | None]]:
    """The wanted raw frames in order, None for each where there is no raw clip."""
    if source is None:
        yield from ((number, None) for number in numbers)
        return
    wanted = set(numbers)
    yield from ((number, frame) for number, _, frame in source.frames() if number in wanted)


def _alike(raw: np.ndarray | None, released: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """Both cut to the size they share: an encoder rounds odd sides up."""
    if raw is None:
        return None, released
    height, width = (min(sides) for sides in zip(raw.shape[:2], released.shape[:2], strict=True))
    return np.ascontiguousarray(raw[:height, :width]), np.ascontiguousarray(released[:height, :width])


def texts_of(clip: Clip, annotation: Annotation) -> list[str]:
    """Raw and released texts of one clip by turns."""
    pairs = [(clip.transcript or "", annotation.transcript or "")]
    pairs += [(text, annotation.texts.get(name, "")) for name, text in clip.texts.items()]
    return [text for pair in pairs for text in pair]


@dataclass(frozen=True)
class NamesLeft:
    """Of one clip: uses of ``known`` names in the raw texts and those of them ``known_left`` in the released ones; the
    same of names, places and contacts that the audit's reader ``found``."""

    key: str
    known: int
    known_left: int
    found: int
    found_left: int


def names_by_clip(released: Released, raw: Mapping[str, Clip], names: Sequence[str]) -> Iterator[NamesLeft]:
    """What the raw texts of every written clip name and its released texts still do: its own person and ``names``, by
    the audit's own matching, and whoever else is found (see ``deid.audit.names``)."""
    reader = of_names.NameReader()
    known = lru_cache(lambda subject: of_names.KnownNames([subject, *names], of_names.is_everyday))
    for row in released.rows:
        if clip := raw.get(row.key):
            texts = texts_of(clip, released.annotations[row.key])
            own, others = of_names.names_left(known(clip.subject), texts), of_names.names_left(reader, texts)
            contacts = of_names.contacts_left(texts)
            yield NamesLeft(row.key, *own, others[0] + contacts[0], others[1] + contacts[1])
