"""What the demo's training learns, held against what its clips can teach (``deemo_dist.samples.design``).

`DEEMO_LEARNING_SEEDS=3 pytest tests/system/test_learning.py` de-identifies the demo's clips once and trains the demo's
run anew for each seed, and once with the answers of other clips; `make learning` shows accuracies and seconds of each
in a table. The seconds are told and not held: machines differ, and others may use them.
"""

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deemo_dist.dataset import open_dataset, read_info
from deemo_dist.dataset.layout import annotations_key, info_key
from deemo_dist.dataset.tables import PartWriter
from deemo_dist.digests import canonical_json, digest_of_rows, plain
from deemo_dist.records.sample import ANNOTATION_SCHEMA
from tests.learned import Learned, as_table, learned_in
from tests.system.conftest import Project, ingest

SEEDS = int(os.environ.get("DEEMO_LEARNING_SEEDS", "0"))
SUBJECTS, CLIPS = 75, 8
LEAST = 0.90
GESTURE = PROSODY = (0.60, 0.83)
CHANCE = (0.42, 0.58)
BANDS = {"video": GESTURE, "cues": GESTURE, "body": GESTURE, "audio": PROSODY, "text": CHANCE}

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(SEEDS < 1, reason="set DEEMO_LEARNING_SEEDS to train so many times"),
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The demo's clips, de-identified."""
    from deemo_dist.samples import generate_clips

    folder = tmp_path_factory.mktemp("learning")
    generate_clips(folder / "raw", subjects=SUBJECTS, clips_per_subject=CLIPS, seed=7, workers=2)
    (folder / "raw" / "manifest.jsonl").rename(folder / "raw" / "everything.jsonl")
    project = Project(folder, f"file://{folder / 'store'}", run=Path("demo"), extra=("execution.executor=local",))
    manifest = ingest(project, folder / "raw")
    project.deemo("preprocess", more=[f"data.manifest={manifest}"], seconds=1800)
    return project


@pytest.fixture(scope="module")
def runs() -> Iterator[list[Learned]]:
    """What was trained so far; printed at the end (seen with ``-s``)."""
    done: list[Learned] = []
    yield done
    print(f"\n{as_table(done)}")


def learned(project: Project, seed: int, runs: list[Learned], *, name: str = "learned") -> Learned:
    """The demo's run trained from this seed and evaluated on held-out people."""
    name, started = f"{name}{seed}", time.monotonic()
    for verb in ("train", "evaluate"):
        project.deemo(verb, more=[f"seed={seed}", f"name={name}"], seconds=1800)
    runs.append(learned_in(project.store, name, whole=time.monotonic() - started))
    return runs[-1]


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
def test_each_modality_teaches_what_is_in_it(demo: Project, runs: list[Learned], seed: int) -> None:
    found = learned(demo, seed, runs)
    said = found.accuracy
    beyond = {name: said[name] for name, (low, high) in BANDS.items() if not low <= said[name] <= high}
    assert said["all"] >= LEAST and not beyond, f"{found}\n{as_table(runs)}"


def test_answers_of_other_clips_teach_nothing(demo: Project, runs: list[Learned], tmp_path: Path) -> None:
    for part in ("datasets", "annotations"):
        shutil.copytree(demo.folder / "store" / part, tmp_path / "store" / part)
    control = replace(demo, folder=tmp_path, root=f"file://{tmp_path / 'store'}")
    shuffle_answers(control)
    found = learned(control, 0, runs, name="shuffled")
    low, high = CHANCE
    assert all(low <= value <= high for value in found.accuracy.values()), f"{found}\n{as_table(runs)}"


def shuffle_answers(project: Project) -> None:
    """Give every training clip the labels and texts of another one, in a dataset that refers to the same samples."""
    store, data = project.store, project.config().data
    dataset = open_dataset(store, data.name, data.version)
    keys = [row.key for row in dataset.split("train")]
    others = dict(zip(keys, np.random.default_rng(1).permutation(keys).tolist(), strict=True))
    said = [dataset.annotations[row.key] for row in dataset.index]
    swapped = [
        replace(own, labels=other.labels, texts=other.texts, nfbl=other.nfbl)
        for own in said
        for other in [dataset.annotations[others.get(own.key, own.key)]]
    ]
    info = read_info(store, data.name, data.version)
    ordered = sorted(swapped, key=lambda row: row.key)
    digest = digest_of_rows(ordered)
    writer = PartWriter(store, ANNOTATION_SCHEMA, lambda part: annotations_key(digest, part))
    writer.add(plain(ordered))
    info = replace(info, annotations=writer.finish(), annotations_digest=digest)
    store.put(info_key(info.prefix), canonical_json(info))
