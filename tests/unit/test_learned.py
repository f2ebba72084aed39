"""The table of `make learning`, over a store as trainings leave one."""

from pathlib import Path

from deemo_dist.config import StorageConfig
from deemo_dist.digests import canonical_json
from deemo_dist.storage import open_store
from tests.learned import as_table, learned_in


def test_a_run_s_accuracies_and_the_seconds_of_all_its_stages_are_a_row(tmp_path: Path) -> None:
    store = open_store(StorageConfig(root=f"file://{tmp_path}"))
    for stage, seconds in (("align-1", 20.0), ("instruct-2", 41.0)):
        store.put(f"runs/a/{stage}/result.json", canonical_json({"seconds": seconds, "steps": 3}))
    ablation = {"text": 0.5, "video": 0.75}
    store.put("runs/a/evaluation-3/result.json", canonical_json({"accuracy": 0.9375, "ablation": ablation}))
    found = learned_in(store, "a", whole=100.4)
    assert (found.training, found.accuracy) == (61.0, {"all": 0.9375, **ablation})
    assert str(found).endswith("text 0.500, video 0.750; 61 s of training, 100 s with all around it")
    lines = [line.split() for line in as_table([found, found]).splitlines()]
    assert lines[0] == ["run", "all", "text", "video", "training", "s", "whole", "s"]
    assert lines[1] == lines[2] == ["a", "0.938", "0.500", "0.750", "61", "100"]
    assert lines[3] == ["together", "122", "201"] and as_table([]) == ""
