"""``strict`` before the gates of a data set, with people enough to tell: generated ones, whose faces are photographs.

Their faces are cut out of the footage of two people, tinted and mirrored, so it is no trial of as many real faces. In
each clip they wear other clothes at another place: what the crop of a head shows beside its mask links two clips of one
place (rank-1 .07, .03 to .14, where everybody keeps the background), and that is no question of faces. Each gate is
decided (guessing passes from 45 people on) and passed, by faces and by heads, against both galleries.
Some three minutes on one core, for which only the first frames of a clip are taken.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from deemo_dist.config import KeysConfig, PolicyConfig, load
from deemo_dist.deid import Deidentifier, KeyRing
from deemo_dist.deid.audit.clip import RAW, RELEASED, ClipFinding, ClipObserver
from deemo_dist.deid.audit.detectors import FullRange, auditors
from deemo_dist.deid.audit.figures import ALIKE, CLEAR, HEAD, face_attacks, judge, residual, sensitivity
from deemo_dist.deid.audit.identity import FaceReader
from deemo_dist.errors import DeidError
from deemo_dist.media import Bounds, DecodedClip, MemoryClip, Sandbox, decode_frames
from deemo_dist.records import Clip
from deemo_dist.samples import generate_clips
from pipelines import attack, audit
from tests.unit.deid.audit.test_figures import figures
from tests.unit.deid.conftest import SECRET, Recorder

pytestmark = pytest.mark.slow
PEOPLE, FRAMES = 48, 3


@dataclass(frozen=True)
class Seen:
    """A clip and what became of it."""

    clip: Clip
    finding: ClipFinding
    annotation: SimpleNamespace


def policy(folder: Path) -> PolicyConfig:
    """The policy as it is shipped."""
    (folder / "run.yaml").write_text("name: x\nbases: [policies/strict]\n")
    return load(folder / "run.yaml").policy


def beginnings(folder: Path) -> Iterator[tuple[Clip, DecodedClip]]:
    """The first frames of two clips of everybody, without their sound."""
    with Sandbox() as sandbox:
        for clip in generate_clips(folder / "raw", subjects=PEOPLE, clips_per_subject=2, workers=1, changing=True):
            whole = sandbox.decode(Path(clip.uri.removeprefix("file://")), Bounds())
            assert whole.frames is not None
            start = replace(whole, frames=whole.frames[:FRAMES], frame_times=whole.frame_times[:FRAMES], waveform=None)
            yield clip, start


def taken(strict: Deidentifier, reader: FaceReader, clip: Clip, decoded: DecodedClip) -> Seen | None:
    """The clip de-identified, and looked at beside the raw one as the audit does; None for one that is rejected."""
    with Recorder() as writer:
        try:
            made = strict(clip, MemoryClip(decoded), writer)
        except DeidError:
            return None
    assert decoded.frames is not None
    shown = decode_frames(writer.buffer.getvalue())
    observer = ClipObserver(auditors(), reader, frames=FRAMES, controls=(), small=FullRange(), known=True)
    for number in sorted(observer.wanted):
        observer.see(number, decoded.frames[number], shown[number])
    finding = observer.finish(clip.uri, clip.subject)
    return Seen(clip, finding, SimpleNamespace(transcript=made.transcript, texts=made.texts))


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[Seen]:
    folder = tmp_path_factory.mktemp("strict")
    (folder / "root.key").write_text(SECRET + "\n")
    ring = KeyRing.open(KeysConfig(source="file", path=str(folder / "root.key")), dataset="strict")
    strict, reader = Deidentifier(policy(folder), ring), FaceReader()
    found = [taken(strict, reader, clip, decoded) for clip, decoded in beginnings(folder)]
    kept = [each for each in found if each is not None]
    assert len(kept) >= 0.95 * len(found)
    return kept


def test_every_gate_is_passed_and_none_is_not_estimable(seen: list[Seen], tmp_path: Path) -> None:
    findings = [each.finding for each in seen]
    raw = {each.clip.uri: each.clip for each in seen}
    rows = [SimpleNamespace(key=key) for key in raw]
    released = SimpleNamespace(rows=rows, annotations={each.clip.uri: each.annotation for each in seen})
    words = audit.words_of(list(attack.names_by_clip(released, raw, [])))  # type: ignore[arg-type]
    found = figures(None, attacks=face_attacks(findings), words=words, residual=residual(findings))
    verdicts = judge(found, policy(tmp_path).gates)
    assert [verdict for verdict in verdicts if verdict.outcome != "passed"] == []
    assert len(verdicts) == 4
    assert min(words.there, words.found) > PEOPLE
    assert residual(findings).value == 0.0


def test_unmasked_the_same_people_are_faces_that_are_told_apart(seen: list[Seen]) -> None:
    findings = [each.finding for each in seen]
    assert sensitivity(findings).value > 0.95
    (raw,) = (each.linkage for each in face_attacks(findings) if (each.kind, each.crop) == (RAW, "face"))
    (masked,) = (
        each.linkage
        for each in face_attacks(findings)
        if (each.kind, each.gallery, each.crop) == (RELEASED, CLEAR, "face")
    )
    assert raw is not None
    assert masked is not None
    assert raw.people == masked.people >= 45
    assert raw.rank1.low > raw.chance + 0.1
    assert masked.rank1.value < raw.rank1.value / 2


def test_the_attacks_by_heads_are_made_with_both_galleries(seen: list[Seen]) -> None:
    attacks = face_attacks([each.finding for each in seen])
    heads = [each for each in attacks if (each.kind, each.crop) == (RELEASED, HEAD)]
    assert {each.gallery for each in heads} == {CLEAR, ALIKE}
    assert all(each.linkage is not None and each.linkage.estimable for each in heads)
