"""The shipped stages for pretrained models: every pattern matches, and what trains is what the file says."""

from pathlib import Path

import pytest

from deemo_dist.config import RunConfig, load
from pipelines.stage_model import stage_model

pytestmark = pytest.mark.slow

ALL = {"video_projector", "audio_projector", "cue_projector"}
TRAINED = {
    "videollama2-av": {
        "align-body": {"video_projector", "cue_projector"},
        "align-voice": {"audio_projector"},
        "voice": {"audio_projector", "audio_tower"},
        "joint": ALL | {"audio_tower", "language_model"},
    },
    "affectgpt": {"align": ALL, "instruct": ALL | {"language_model"}},
}


def run_of(preset: str, folder: Path) -> RunConfig:
    path = folder / "run.yaml"
    path.write_text(
        f"bases: [models/7b, policies/standard, tasks/deemo, stages/{preset}]\n"
        f"name: preset\nkeys: {{source: environment}}\nstorage: {{root: 'file://{folder}/store'}}\n"
        "data: {name: deemo, version: v1}\nengine: {precision: bf16}\n"
    )
    return load(path)


@pytest.mark.parametrize("preset", TRAINED)
def test_what_trains_is_what_the_preset_says(preset: str, tmp_path: Path) -> None:
    config = run_of(preset, tmp_path)
    assert set(config.stages) == set(TRAINED[preset])
    for stage, parts in TRAINED[preset].items():
        assert set(config.stages[stage].tasks) <= set(config.tasks)
        named = [name for name, value in stage_model(config, stage).named_parameters() if value.requires_grad]
        assert {name.split(".")[0] for name in named} == parts


def test_adapters_are_on_every_linear_layer_of_the_language_model(tmp_path: Path) -> None:
    config = run_of("affectgpt", tmp_path)
    named = [name for name, value in stage_model(config, "instruct").named_parameters() if value.requires_grad]
    adapted = {name.split(".")[-4] for name in named if ".lora_A." in name}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert all("lora_" in name for name in named if name.startswith("language_model"))
