"""An export of an earlier version, kept in ``tests/data``, still loads and still says what it said."""

import json
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoProcessor, AutoTokenizer

import deemo_dist.model  # noqa: F401 - registers the Auto classes
from tests.unit.model.conftest import make_loaded

STORED = Path(__file__).parents[2] / "data/tiny_export"


def wave(tensor: torch.Tensor) -> torch.Tensor:
    """A medium of this shape that needs no generator."""
    return torch.sin(torch.arange(tensor.numel()) * 0.1).view(tensor.shape)


def answers(folder: Path) -> dict:
    """Tokens and logits of a fixed pack by the model at ``folder``."""
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    pack = processor.pack([make_loaded("a", frames=4, audio_seconds=1.0, cue_frames=4)])
    media = {name: wave(pack[name]) for name in ("pixel_values", "input_features", "cue_values")}
    labels = pack.pop("labels")
    with torch.no_grad():
        logits = model(**{**pack, **media}).logits[0]
    return {"ids": pack["input_ids"][0].tolist(), "labels": labels[0].tolist(), "logits": logits[-2:, ::8].tolist()}


def test_a_stored_export_gives_the_stored_logits():
    assert type(AutoConfig.from_pretrained(STORED)).model_type == "deemo_llama"
    assert len(AutoTokenizer.from_pretrained(STORED)) > 0
    expected, found = json.loads((STORED / "expected.json").read_text()), answers(STORED)
    assert found["ids"] == expected["ids"] and found["labels"] == expected["labels"]
    assert torch.allclose(torch.tensor(found["logits"]), torch.tensor(expected["logits"]), atol=1e-4)
    assert torch.tensor(found["logits"]).std() > 0.01
