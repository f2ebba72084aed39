"""Stored weights read tensor by tensor: which names serve, what grows, what is refused."""

import dataclasses
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils import filter_repo_objects
from safetensors.torch import load_file, save_file
from torch import nn

from cluster.local.s3 import LocalS3
from deemo_dist.config import StorageConfig, TowerConfig
from deemo_dist.errors import ModelError
from deemo_dist.model import build_model, sources
from deemo_dist.model.fetched import fetched
from deemo_dist.model.sources import cast_parameters, load_parts
from deemo_dist.model.stored import load_stored
from deemo_dist.storage import open_store
from deemo_dist.storage.elsewhere import VARIABLE, elsewhere, use


def part() -> nn.Module:
    torch.manual_seed(4)
    return nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(3, 2)]), "norm": nn.BatchNorm1d(2)})


def whole_is_not_wanted():
    raise AssertionError("transformers was asked")


@pytest.mark.parametrize("prefix", ["", "model.encoder."])
def test_tensors_are_taken_by_name_under_any_one_prefix_from_any_file(tmp_path, prefix):
    stored = {prefix + name: torch.rand(tensor.shape) for name, tensor in part().state_dict().items()}
    first = dict(list(stored.items())[:2])
    save_file({**first, "model.decoder.layers.0.weight": torch.zeros(2, 3)}, tmp_path / "model-1.safetensors")
    save_file({name: stored[name] for name in stored if name not in first}, tmp_path / "model-2.safetensors")
    places = {name: f"model-{1 if name in first else 2}.safetensors" for name in stored}
    (tmp_path / "model.safetensors.index.json").write_text(str({"weight_map": places}).replace("'", '"'))
    filled = part()
    load_stored(filled, lambda: tmp_path, whole_is_not_wanted, torch.float32)
    for name, tensor in filled.state_dict().items():
        assert torch.equal(tensor, stored[prefix + name].to(tensor.dtype))


def test_names_that_are_not_the_parts_own_go_by_way_of_transformers(tmp_path):
    save_file({"weight_of_old": torch.zeros(2, 3)}, tmp_path / "model.safetensors")
    other = part()
    nn.init.constant_(other["layers"][0].weight, 7.0)
    filled = part()
    load_stored(filled, lambda: tmp_path, lambda: other, torch.float32)
    assert filled["layers"][0].weight.eq(7.0).all()
    with pytest.raises(ModelError, match=r"do not fit: layers.0.weight is \(5, 3\) there, \(2, 3\) here"):
        other = nn.ModuleDict({**part(), "layers": nn.ModuleList([nn.Linear(3, 5)])})
        load_stored(part(), lambda: tmp_path, lambda: other, torch.float32)
    (tmp_path / "model.safetensors").write_bytes(b"half")
    with pytest.raises(ModelError, match="cannot be read"):
        load_stored(part(), lambda: tmp_path, whole_is_not_wanted, torch.float32)


def test_a_download_that_was_broken_off_is_finished_by_transformers(tmp_path):
    save_file({"layers.0.weight": torch.zeros(2, 3)}, tmp_path / "model-1.safetensors")
    places = '{"weight_map": {"layers.0.weight": "model-1.safetensors", "layers.1.weight": "model-2.safetensors"}}'
    (tmp_path / "model.safetensors.index.json").write_text(places)
    whole = part()
    nn.init.constant_(whole["layers"][0].weight, 7.0)
    filled = part()
    load_stored(filled, lambda: tmp_path, lambda: whole, torch.float32)
    assert filled["layers"][0].weight.eq(7.0).all()


def test_a_name_of_the_hub_is_fetched_as_safetensors_and_left_to_transformers_where_it_is_not(tmp_path, monkeypatch):
    asked = []

    def snapshot(name, *, allow_patterns, ignore_patterns):
        asked.append(name)
        if name == "gone/model":
            raise LocalEntryNotFoundError("offline")
        files = [
            "model-1.safetensors",
            "config.json",
            "onnx/model.safetensors",
            "consolidated.safetensors",
            "model.bin",
        ]
        kept = list(filter_repo_objects(files, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns))
        assert kept == ["model-1.safetensors", "config.json"]
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert sources.folder_of("some/model") == tmp_path
    assert sources.folder_of("gone/model") == Path("gone/model")
    assert sources.folder_of(str(tmp_path)) == tmp_path
    assert asked == ["some/model", "gone/model"]


def test_a_language_model_grows_by_the_mean_of_its_rows(model, tmp_path):
    stored = {name: tensor.clone() for name, tensor in model.language_model.state_dict().items()}
    rows = len(stored["lm_head.weight"])
    for name in ("lm_head.weight", "model.embed_tokens.weight"):
        stored[name] = stored[name][: rows - 5].contiguous()
    model.language_model.save_pretrained(tmp_path)
    save_file(stored, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with torch.no_grad():
        model.language_model.lm_head.weight.zero_()
    load_parts(model, {"llm": str(tmp_path), "vision": "random", "audio": "random"}, torch.float32)
    head = model.language_model.lm_head.weight
    assert torch.equal(head[: rows - 5], stored["lm_head.weight"])
    assert torch.equal(head[-1], stored["lm_head.weight"].mean(0))
    assert load_file(tmp_path / "model.safetensors").keys() == stored.keys()


def assert_fetched_once(folder, root, monkeypatch):
    """The files of a prefix are fetched once, again where they changed; pickles never."""
    monkeypatch.setenv("DEEMO_CACHE", str(folder / "cache"))
    store = open_store(StorageConfig(root=root))
    store.put("config.json", b"{}")
    store.put("pytorch_model.bin", b"a pickle")
    store.put("sub/model.safetensors", b"x")
    first = fetched(root + "/")
    assert sorted(str(path.relative_to(first)) for path in first.rglob("*.*")) == [
        "config.json",
        "sub/model.safetensors",
    ]
    (first / "config.json").write_text("kept")
    assert fetched(root) == first and (first / "config.json").read_text() == "kept"
    store.put("config.json", b"{ }")
    assert fetched(root) != first


def test_a_prefix_is_fetched_once(tmp_path, monkeypatch):
    assert_fetched_once(tmp_path, f"file://{tmp_path}/store/models/a", monkeypatch)


@pytest.mark.slow
def test_a_prefix_of_a_bucket_is_fetched_once(tmp_path, monkeypatch):
    with LocalS3() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv(VARIABLE, raising=False)
        assert_fetched_once(tmp_path, f"{server.root}/models/a", monkeypatch)
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        monkeypatch.setenv(VARIABLE, "{}")
        use(StorageConfig(endpoint=server.endpoint, retries=2))  # as a run with its own endpoint says
        assert (fetched(f"{server.root}/models/a") / "config.json").read_text() == "{ }"


def test_a_models_bucket_is_asked_as_the_run_says_of_its_own(monkeypatch):
    monkeypatch.setenv(VARIABLE, "{}")
    assert elsewhere("s3://b/m") == StorageConfig(root="s3://b/m")
    use(StorageConfig(root="s3://own/p", endpoint="http://s3:9000", retries=3, timeout_seconds=7.0, cache="/c"))
    wanted = StorageConfig(root="s3://b/m", endpoint="http://s3:9000", retries=3, timeout_seconds=7.0)
    assert elsewhere("s3://b/m") == wanted


def test_a_gguf_file_of_a_prefix_is_the_model(tmp_path, monkeypatch):
    monkeypatch.setenv("DEEMO_CACHE", str(tmp_path / "cache"))
    open_store(StorageConfig(root=f"file://{tmp_path}/store")).put("m/some.gguf", b"GGUF")
    assert fetched(f"file://{tmp_path}/store/m").name == "some.gguf"


def test_rotary_frequencies_keep_their_precision(model):
    def frequencies():
        return {name: buffer.clone() for name, buffer in model.named_buffers() if "inv_freq" in name}

    before = frequencies()
    cast_parameters(model, torch.bfloat16)
    assert before and all(torch.equal(before[name], buffer) for name, buffer in frequencies().items())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("tied", [False, True])
def test_a_part_that_is_read_gets_no_first_values_and_all_its_stored_ones(nano, tmp_path, monkeypatch, tied):
    """Frequencies of positions, which are stored nowhere, and a head that is the embeddings included."""
    llm = dataclasses.replace(nano.llm, settings={**nano.llm.settings, "tie_word_embeddings": tied})
    model = build_model(dataclasses.replace(nano, llm=llm), 0)
    model.language_model.save_pretrained(tmp_path)
    drawn = []
    rule = type(model.language_model)._init_weights
    monkeypatch.setattr(
        type(model.language_model), "_init_weights", lambda self, module: drawn.append(module) or rule(self, module)
    )
    again = build_model(dataclasses.replace(nano, llm=TowerConfig(source=str(tmp_path))), 0)
    assert not [module for module in drawn if any(True for _ in module.parameters(recurse=False))]
    same = again.get_output_embeddings().weight is again.get_input_embeddings().weight
    assert same == tied
    stored, found = model.language_model.state_dict(), again.language_model.state_dict()
    assert stored.keys() == found.keys() and all(torch.equal(stored[name], found[name]) for name in stored)
    buffers = dict(again.language_model.named_buffers())
    assert buffers and all(torch.equal(buffers[name], own) for name, own in model.language_model.named_buffers())
    assert all(torch.equal(one, other) for one, other in
               zip(model.audio_tower.parameters(), again.audio_tower.parameters(), strict=True))  # fmt: skip
