"""A base is known by its weights, not by its name."""

import dataclasses
import hashlib
import shutil
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from deemo_dist.config import ModelConfig, TowerConfig
from deemo_dist.errors import ModelError
from deemo_dist.model import build_model
from deemo_dist.model.adapters import add_adapters
from deemo_dist.model.identity import base_digests, refuse_other_base, source_digest
from deemo_dist.records.adapters import AdapterShape
from deemo_dist.weights import cache
from deemo_dist.weights.registry import registry


@pytest.fixture
def llm(nano: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a language model."""
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "cache"))
    build_model(nano, seed=3).language_model.save_pretrained(tmp_path / "llm")
    return tmp_path / "llm"


def change_a_byte(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_a_folder_is_known_by_its_weights_wherever_it_lies(llm: Path, tmp_path: Path) -> None:
    digest = source_digest(str(llm))
    shutil.copytree(llm, tmp_path / "copy")
    (tmp_path / "copy" / "README.md").write_text("words are no weights")
    assert source_digest(str(tmp_path / "copy")) == source_digest(f"file://{tmp_path}/copy") == digest
    change_a_byte(llm)
    assert source_digest(str(llm)) != digest
    with pytest.raises(ModelError, match="cannot be loaded"):
        source_digest(str(tmp_path / "nowhere"))


def test_pinned_weights_and_a_gguf_file_are_known_by_their_own_digest(tmp_path: Path, llm: Path) -> None:
    name, weight = next(iter(registry().items()))
    assert source_digest(f"weights:{name}") == weight.sha256
    (tmp_path / "a.gguf").write_bytes(b"GGUF and more")
    assert source_digest(str(tmp_path / "a.gguf")) == hashlib.sha256(b"GGUF and more").hexdigest()


def test_a_random_part_is_known_by_its_seed_and_configuration(nano: ModelConfig, llm: Path) -> None:
    stored = dataclasses.replace(nano, llm=TowerConfig(source=str(llm)))
    first = base_digests(stored, 1)
    assert first == base_digests(stored, 1) and first["llm"] == source_digest(str(llm))
    other = base_digests(stored, 2)
    assert [part for part in first if other[part] != first[part]] == ["vision", "audio"]
    assert base_digests(dataclasses.replace(stored, frames=9), 1)["audio"] != first["audio"]


def test_another_base_is_refused_in_one_line_that_names_the_part() -> None:
    sources = {"llm": "/models/x", "vision": "random"}
    refuse_other_base({}, {"llm": "b" * 64}, sources, "it", hint="do")
    refuse_other_base({"llm": "b" * 64}, {"llm": "b" * 64, "vision": "c" * 64}, sources, "it", hint="do")
    with pytest.raises(ModelError) as refused:
        refuse_other_base({"llm": "a" * 64}, {"llm": "b" * 64}, sources, "it", hint="do")
    assert str(refused.value) == (
        "it was made over other llm weights than '/models/x' now gives (aaaaaaaaaaaa then, bbbbbbbbbbbb now) - do"
    )


def test_adapters_are_not_laid_over_a_base_that_has_changed(nano: ModelConfig, llm: Path, tmp_path: Path) -> None:
    stored = dataclasses.replace(nano, llm=TowerConfig(source=str(llm)))
    model = build_model(stored, seed=4)
    shape = AdapterShape(rank=2, alpha=4.0, dropout=0.0)
    add_adapters(model, {"language_model.model.layers.0.self_attn.q_proj": shape})
    model.save_pretrained(tmp_path / "before")  # as exports of before digests were kept
    model.config.digests = base_digests(stored, 4)
    model.save_pretrained(tmp_path / "adapted")
    AutoModelForCausalLM.from_pretrained(tmp_path / "adapted").save_pretrained(tmp_path / "again")
    change_a_byte(llm)
    for name in ("adapted", "again"):
        with pytest.raises(ModelError, match="the adapted model was made over other llm weights"):
            AutoModelForCausalLM.from_pretrained(tmp_path / name)
    AutoModelForCausalLM.from_pretrained(tmp_path / "before")
