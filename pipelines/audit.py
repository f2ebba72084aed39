"""``deemo audit``: a data set before attackers who know how it was made; and the gates of a data set before its commit.

Without the raw manifest only what needs none is measured: faces still found, and pictures and movements that link.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deemo_dist.config import RunConfig
from deemo_dist.console import logger
from deemo_dist.dataset import (
    DatasetHeader,
    committed_units,
    dataset_prefix,
    open_dataset,
    read_manifest,
    read_receipt,
)
from deemo_dist.dataset.layout import receipts_prefix, shards_prefix
from deemo_dist.dataset.lifecycle.purge import purge
from deemo_dist.dataset.lifecycle.versions import key_names
from deemo_dist.deid import KeyRing, policy_digest
from deemo_dist.deid.audit import figures as of
from deemo_dist.deid.audit.coverage import Boxes, read_boxes
from deemo_dist.deid.audit.detectors import auditors
from deemo_dist.deid.audit.figures import AuditFigures
from deemo_dist.deid.audit.identity import FaceReader
from deemo_dist.deid.audit.statistics import share
from deemo_dist.deid.body.linkage import CueLinkage, subject_linkage
from deemo_dist.digests import plain
from deemo_dist.errors import DatasetError
from deemo_dist.records import Clip
from deemo_dist.storage import Store, open_store, read_uri
from deemo_dist.weights import use
from pipelines.attack import (
    Attacker,
    Findings,
    NamesLeft,
    chosen,
    names_by_clip,
)
from pipelines.private import by_place
from pipelines.released import Released
from pipelines.sounds import attack_speakers, word_errors

LOST = 0.1
BOXES, NAMES = "the boxes file (--boxes)", "the names file (--names)"


@dataclass(frozen=True, kw_only=True)
class AuditResult:
    """``figures``, and where ``report`` (HTML) and ``data`` (JSON) stand, as URIs."""

    figures: AuditFigures
    report: str
    data: str


@by_place()
def run_audit(
    config: RunConfig, *, raw: str | None, boxes: str | None, names: str | None, clips: int | None
) -> AuditResult:
    """Audit the run's data set and write its report beside it. Gates are those of the run's policy; where the data set
    was made by another one, the figures say so.

    ``raw``: URI of the manifest of raw clips; ``boxes``: a CSV of true boxes; ``names``: a file of names, one a line;
    ``clips``: how many clips at most. Raises ``DatasetError`` where the data set or the manifest does not fit.
    """
    from deemo_dist.evaluation.audit import render_audit

    use(config.weights)
    store = open_store(config.storage)
    dataset = open_dataset(store, config.data.name, config.data.version, allow_weak=True)
    released = Released(store=store, prefix=dataset.prefix, rows=list(dataset.index), annotations=dataset.annotations)
    manifest = read_manifest(raw, config.storage) if raw else []
    truth = read_boxes(_text(boxes, config, BOXES), BOXES) if boxes else {}
    listed = _text(names, config, NAMES).splitlines() if names else []
    clips_by_key = _by_key(config, key_names(dataset.info.name, dataset.info.header), manifest)
    found, figures = audit(config, released, clips_by_key, boxes=truth, names=listed, limit=clips, thorough=True)
    figures = _made_by(figures, config, dataset.info.header)
    page = render_audit(figures, [item.still for item in found.clips if item.still is not None])
    keys = {name: f"{dataset.prefix}/audit/{name}" for name in ("report.html", "figures.json")}
    store.put(keys["report.html"], page.encode())
    store.put(keys["figures.json"], as_json(figures))
    return AuditResult(figures=figures, report=store.uri(keys["report.html"]), data=store.uri(keys["figures.json"]))


def _text(uri: str, config: RunConfig, label: str) -> str:
    """A file as text, without the mark that Windows puts before it. Raises ``DatasetError`` by its label (its place may
    name somebody)."""
    try:
        return read_uri(uri, config.storage, label=label).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{label} is no UTF-8: byte {error.start} (counted from 0) is none of such a text",
            hint='save it again as UTF-8 (in Excel as "CSV UTF-8", in Notepad under Encoding)',
        ) from None


def _made_by(figures: AuditFigures, config: RunConfig, header: DatasetHeader) -> AuditFigures:
    """The figures with the policy that the data set was made by, and with the run's where that is another one."""
    own = policy_digest(config.policy, header.key_id)
    other = "" if own == header.policy_digest else f"{config.policy.name} ({own[:12]})"
    return replace(figures, policy=header.policy, policy_digest=header.policy_digest, judged_by=other)


def audit_gate(config: RunConfig, clips: Sequence[Clip]) -> None:
    """Audit what the receipts hold before the data set is committed, where its policy sets gates.

    Raises ``DatasetError`` where a gate is failed; shards and receipts are removed for good then, with their older
    versions, and the figures stay under the version's ``audit/``.
    """
    gates = config.policy.gates
    if gates.face_match is None and gates.rank1_over_chance is None and gates.pii_recall is None:
        return
    store = open_store(config.storage)
    released = _so_far(store, dataset_prefix(config.data.name, config.data.version))
    clips_by_key = _by_key(config, [config.data.name], clips)
    _, figures = audit(config, released, clips_by_key, limit=gates.clips, thorough=False)
    for verdict in figures.verdicts:
        logger.info("audit: %s: %s (%s): %s", verdict.gate, verdict.measured, verdict.allowed, verdict.outcome)
    failed = [verdict for verdict in figures.verdicts if verdict.outcome == "failed"]
    store.put(f"{released.prefix}/audit/figures.json", as_json(figures))
    if failed:
        _withdraw(store, released.prefix)
        said = "; ".join(f"{verdict.gate}: {verdict.measured}, allowed is {verdict.allowed}" for verdict in failed)
        raise DatasetError(
            f"dataset {config.data.name}/{config.data.version} is not committed and its shards are deleted: {said}",
            hint="take a stronger policy and a new data.version, or look into audit/figures.json of this one",
        )


def _so_far(store: Store, prefix: str) -> Released:
    """What the receipts of a version hold, committed as a data set or not."""
    receipts = [read_receipt(store, prefix, unit) for unit in sorted(committed_units(store, prefix))]
    return Released(
        store=store,
        prefix=prefix,
        rows=[row for receipt in receipts for row in receipt.index],
        annotations={row.key: row for receipt in receipts for row in receipt.annotations},
    )


def _by_key(config: RunConfig, names: Sequence[str], clips: Sequence[Clip]) -> dict[str, Clip]:
    """Raw clips by their sample keys under each of the dataset ``names`` (a merge keeps its sources'). Needs the root
    key where there are any."""
    if not clips:
        return {}
    ring = KeyRing.open(config.keys)
    return {each.sample_key(clip.uri): clip for each in map(ring.of, names) for clip in clips}


def _withdraw(store: Store, prefix: str) -> None:
    """Remove receipts first, so that nothing refers to a shard that is gone, then shards: for good, in a bucket that
    keeps versions too, since what failed is personal data."""
    purge(store, receipts_prefix(prefix))
    purge(store, shards_prefix(prefix))


def audit(
    config: RunConfig,
    released: Released,
    raw: Mapping[str, Clip],
    *,
    boxes: Boxes | None = None,
    names: Sequence[str] = (),
    limit: int | None = None,
    thorough: bool,
) -> tuple[Findings, AuditFigures]:
    """Put clips before the attackers. ``raw``: manifest rows by sample key; ``thorough``: also what no gate asks for
    (other maskings, voices, words)."""
    started = time.monotonic()
    if not released.rows:
        raise DatasetError("there is no sample to audit", hint="every clip was rejected: see `deemo dataset show`")
    if raw and raw.keys().isdisjoint(row.key for row in released.rows):
        raise DatasetError(
            "no sample is of a clip of the manifest", hint="is it the manifest, and the key, of this run?"
        )
    rows = chosen(released.rows, limit or config.policy.gates.clips)
    findings = Attacker(config, released, raw, boxes=boxes or {}, thorough=thorough).look(rows)
    if findings.lost > LOST * len(rows):
        raise DatasetError(
            f"{findings.lost} of {len(rows)} raw clips cannot be read any more: nothing can be said of the data set",
            hint="are they still where the manifest says?",
        )
    figures = _figures(config, released, findings, with_raw=bool(raw))
    figures = replace(figures, words=_words(released, raw, names, findings) if raw else None)
    if thorough:
        figures = replace(figures, speakers=attack_speakers(released.rows, findings.sounds.voices()))
    figures = replace(figures, verdicts=of.judge(figures, config.policy.gates))
    return findings, replace(figures, seconds=time.monotonic() - started)


def _figures(config: RunConfig, released: Released, findings: Findings, *, with_raw: bool) -> AuditFigures:
    clips = findings.clips
    utility = {name: of.spread(values) for name, values in sorted(findings.utility.items())}
    attested = {row.attestation.faces for row in released.rows}, {row.attestation.voice for row in released.rows}
    return AuditFigures(
        dataset=f"{config.data.name} {config.data.version}",
        policy=config.policy.name,
        faces=", ".join(sorted(attested[0])),
        voice=", ".join(sorted(attested[1])),
        clips=len(clips),
        lost=findings.lost,
        people=len({item.subject for item in clips}),
        looks=sum(item.looks for item in clips),
        detector=auditors().name,
        reader=FaceReader.name,
        residual=of.residual(clips),
        sensitivity=of.sensitivity(clips) if with_raw else share({}),
        correlation=of.spread(value for item in clips for value in item.correlations),
        coverage=of.true_coverage(clips, findings.boxes),
        attacks=of.face_attacks(clips) if with_raw else (),
        picture=of.picture_attack(clips),
        words=None,
        utility={name: value for name, value in utility.items() if value is not None},
        movement=_movement(findings),
    )


def _movement(findings: Findings) -> dict[str, CueLinkage]:
    """Whose each clip is, told by its cues before and after they are normalised; nothing where too few people move."""
    people = [item.subject for item in findings.movements]
    found = {
        "before": subject_linkage([item.pixels for item in findings.movements], people),
        "after": subject_linkage([item.stored for item in findings.movements], people),
    }
    return {name: linkage for name, linkage in found.items() if linkage is not None}


def _words(released: Released, raw: Mapping[str, Clip], names: Sequence[str], findings: Findings) -> of.Words:
    """Names, known and found, that are gone from all written clips, and the word error rate over some."""
    counted = words_of(list(names_by_clip(released, raw, names)))
    heard = findings.sounds.whole
    rate, words = word_errors(heard, _ear()) if heard else (None, 0)
    return replace(counted, wer=rate, heard=words)


def words_of(counted: Sequence[NamesLeft]) -> of.Words:
    """What the gate of names judges by, of the clips that name somebody."""
    return of.Words(
        there=sum(clip.known for clip in counted),
        recall=share({clip.key: _gone(clip.known, clip.known_left) for clip in counted if clip.known}),
        found=sum(clip.found for clip in counted),
        found_recall=share({clip.key: _gone(clip.found, clip.found_left) for clip in counted if clip.found}),
    )


def _gone(there: int, left: int) -> list[float]:
    """1 for each that is gone, 0 for each that is left."""
    return [1.0] * (there - left) + [0.0] * left


def _ear() -> Any:
    """What hears words: the ASR of the transcripts."""
    from deemo_dist.deid.text.asr import Listener

    listener = Listener()
    return lambda waveform, rate: listener(waveform, rate).text


def as_json(figures: AuditFigures) -> bytes:
    """Figures as readable JSON; what is not a number is null."""
    return json.dumps(_finite(plain(figures)), indent=1, sort_keys=True, allow_nan=False).encode()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
