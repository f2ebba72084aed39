"""``deemo dataset``: what a dataset holds, and whether it is whole."""

import json
from collections import Counter
from collections.abc import Callable

from deemo_dist.config import RunConfig
from deemo_dist.dataset import Dataset, open_dataset, verify
from deemo_dist.dataset.info import Derivation
from deemo_dist.dataset.lifecycle.suppression import read_suppressed, token_of
from deemo_dist.deid import policy_digest
from deemo_dist.errors import CorruptDataError, DatasetError, NotFoundError
from deemo_dist.storage import Store, open_store
from pipelines.work import work_lines

MANIFEST_ORDER = "  order      the manifest's: who knows it knows whose a key is; preprocess anew or rotate the key"


def open_allowed(config: RunConfig, store: Store, name: str = "", version: str = "", *, ledger: bool = True) -> Dataset:
    """The dataset of a run, or another that it uses, refused (``DatasetError``) unless it was made under the run's
    policy, and that is strong or ``data.allow_weak_policy`` is set; and where somebody who withdrew is in it.
    ``ledger`` as for ``open_dataset``."""
    dataset = open_dataset(
        store,
        name or config.data.name,
        version or config.data.version,
        allow_weak=config.data.allow_weak_policy,
        allowed=_allowed(config),
        ledger=ledger,
    )
    _refuse_withdrawn(store, dataset)
    return dataset


def _allowed(config: RunConfig) -> Callable[[str], str]:
    """The digest of the run's policy under a key of which only the id is known: no root key is needed to train."""
    return lambda key_id: policy_digest(config.policy, key_id)


def describe(config: RunConfig) -> str:
    """Samples, rejects by reason, splits, policy and digests, as text, whatever the policy."""
    store = open_store(config.storage)
    dataset = open_dataset(store, config.data.name, config.data.version, allow_weak=True)
    info = dataset.info
    rejects = Counter(f"{row.stage}: {row.reason}" for row in dataset.ledger if row.status == "rejected")
    splits = Counter(row.split for row in dataset.index)
    hours = sum(row.audio_seconds for row in dataset.index) / 3600
    lines = [
        f"dataset      {info.name} {info.version}  {info.dataset_digest}",
        f"clips        {info.clips} in, {info.samples} written, {info.rejected} rejected",
        *(f"  rejected   {count} {reason}" for reason, count in rejects.most_common()),
        f"splits       {', '.join(f'{name} {count}' for name, count in sorted(splits.items()))}",
        f"subjects     {_subjects(dataset)}",
        f"media        {sum(row.frames for row in dataset.index)} frames, {hours:.2f} h of sound",
        f"shards       {info.shards}, {info.bytes / 1e6:.1f} MB",
        f"policy       {info.header.policy} ({info.header.strength})  {info.header.policy_digest}",
        *(f"  weak       {reason}" for reason in info.header.weaknesses),
        f"manifest     {info.header.manifest_digest}",
        *([] if info.header.order == "key" else [MANIFEST_ORDER]),
        f"annotations  {info.annotations_digest}",
    ]
    lines += _origin(info.header.derived)
    lines += _gates(store, dataset.prefix)
    demo = ", the demo key, which everybody knows: not for personal data" if info.header.demo_key else ""
    lines.append(f"key          {info.header.key_id}{demo}")
    return "\n".join([*lines, *work_lines(info.statistics)])


def _subjects(dataset: Dataset) -> str:
    """How many there are; where every clip is another one's, it may be that nobody said who is in which."""
    count = len(dataset.index.column("subject_key").unique())
    alone = count == len(dataset.index) > 1
    return f"{count}, one a clip: how many people they are is not known" if alone else str(count)


def _gates(store: Store, prefix: str) -> list[str]:
    """What the last audit of a version, before its commit or since, says of each gate of the dataset; none looked at,
    nothing."""
    try:
        verdicts = json.loads(store.get(f"{prefix}/audit/figures.json"))["verdicts"]
    except NotFoundError:
        return []
    return [
        f"gate         {each['outcome']}: {each['gate']}: {each['measured']} ({each['allowed']})" for each in verdicts
    ]


def _origin(derived: Derivation | None) -> list[str]:
    """What a version was made of, where preprocessing did not make it."""
    if derived is None:
        return []
    sources = ", ".join(f"{source.name}/{source.version} {source.dataset_digest[:12]}" for source in derived.sources)
    lines = [f"made by      {derived.how} of {sources}"]
    if derived.condition:
        lines.append(f"  kept       {derived.condition}")
    if derived.erased:
        lines.append(f"  erased     {derived.erased} clips of people who withdrew")
    if derived.voices_key_id:
        lines.append(f"  voices     disguised under the root key {derived.voices_key_id}")
    return lines


def _refuse_withdrawn(store: Store, dataset: Dataset) -> None:
    """Raise ``DatasetError`` where somebody who withdrew is in a dataset: a backup that was restored, or a version that
    was still being made."""
    withdrawn = read_suppressed(store, dataset.info.header.key_id)
    held = {token_of("subject", key) for key in dataset.index.column("subject_key").unique().to_pylist()}
    if held & withdrawn.rows:
        raise DatasetError(
            f"{dataset.info.name}/{dataset.info.version} holds {len(held & withdrawn.rows)} people who withdrew",
            hint="erase them again: deemo dataset erase",
        )


def check(config: RunConfig, *, deep: bool) -> str:
    """One line when everything agrees. Raises ``CorruptDataError`` that names every problem, ``DatasetError`` for a
    dataset of a policy that the run does not allow."""
    store = open_store(config.storage)
    problems = verify(
        store,
        config.data.name,
        config.data.version,
        deep=deep,
        allow_weak=config.data.allow_weak_policy,
        allowed=_allowed(config),
    )
    if problems:
        shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        raise CorruptDataError(f"{len(problems)} problems: {shown}", hint="rebuild the version, or restore the objects")
    dataset = open_allowed(config, store)
    how = "every member's digest read" if deep else "shallow: receipts, index, ledger and sizes"
    info = dataset.info
    fates = f"{info.samples} written + {info.rejected} rejected"
    return f"whole: {info.clips} clips = {fates} = {len(dataset.ledger)} rows ({how})"
