"""What the demo's training learns, held against what its clips can teach (``deemo_dist.samples.design``).

`DEEMO_LEARNING_SEEDS=3 pytest tests/system/test_learning.py` de-identifies the demo's clips once and trains the demo's
run anew for each seed, and once with the answers of other clips; about twenty minutes on two cores.
"""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deemo_dist.dataset import open_dataset, read_info
from deemo_dist.dataset.layout import annotations_key, info_key
from deemo_dist.dataset.tables import PartWriter
from deemo_dist.digests import canonical_json, digest_of_rows, plain
from deemo_dist.records.sample import ANNOTATION_SCHEMA
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


def learned(project: Project, seed: int) -> dict[str, float]:
    """Accuracies on held-out people: of all modalities, of each alone, of the body's two."""
    name = f"learned{seed}"
    for verb in ("train", "evaluate"):
        project.deemo(verb, more=[f"seed={seed}", f"name={name}"], seconds=1800)
    store = project.store
    key = next(key for key in store.list(f"runs/{name}/") if key.endswith("/result.json") and "/evaluation-" in key)
    result = json.loads(store.get(key))
    return {"all": result["accuracy"], **result["ablation"]}


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
def test_each_modality_teaches_what_is_in_it(demo: Project, seed: int) -> None:
    found = learned(demo, seed)
    beyond = {name: found[name] for name, (low, high) in BANDS.items() if not low <= found[name] <= high}
    assert found["all"] >= LEAST and not beyond, found


def test_answers_of_other_clips_teach_nothing(demo: Project, tmp_path: Path) -> None:
    for part in ("datasets", "annotations"):
        shutil.copytree(demo.folder / "store" / part, tmp_path / "store" / part)
    control = replace(demo, folder=tmp_path, root=f"file://{tmp_path / 'store'}")
    shuffle_answers(control)
    found = learned(control, 0)
    low, high = CHANCE
    assert all(low <= value <= high for value in found.values()), found


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
