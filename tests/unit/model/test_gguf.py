"""A GGUF file's folder: whole whichever rank of a training makes it, and made again where it is not."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from deemo_dist.model import gguf


def tiny() -> LlamaForCausalLM:
    torch.manual_seed(3)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=20, tie_word_embeddings=True, **sizes)).eval()


@pytest.fixture
def second_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a rank of a training that is not the first."""
    from transformers.distributed import mixin

    monkeypatch.setattr(mixin, "_is_torch_distributed_initialized", lambda: True)
    monkeypatch.setattr(mixin, "_get_torch_distributed_rank", lambda: 1)


def test_any_rank_saves_the_whole_model(tmp_path: Path, second_rank: None) -> None:
    model = tiny()
    model.save_pretrained(tmp_path / "theirs")
    assert not (tmp_path / "theirs" / gguf.WEIGHTS).exists()  # what is worked around
    (tmp_path / "ours").mkdir()
    gguf.save_whole(model, tmp_path / "ours")
    again: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", dtype=torch.float32).eval()
    ids = torch.arange(12)[None]
    assert torch.equal(again(ids).logits, model(ids).logits)
    assert type(again) is LlamaForCausalLM
    assert again.lm_head.weight.data_ptr() == again.get_input_embeddings().weight.data_ptr()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were unpacked: each into the same tiny model, for what it holds is none."""
    found: list[Path] = []

    def unpack(path: Path, folder: Path) -> None:
        found.append(path)
        folder.mkdir()
        gguf.save_whole(tiny(), folder)

    monkeypatch.setattr(gguf, "_unpack", unpack)
    return found


def test_a_folder_without_weights_is_made_again_and_a_whole_one_is_not(tmp_path: Path, made: list[Path]) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"GGUF")
    half = tmp_path / "a.gguf.transformers"
    half.mkdir()
    (half / "tokenizer.json").touch()
    for _ in range(2):
        assert gguf.unpacked(path) == half
    assert made == [path]
    assert not (half / "tokenizer.json").exists()
    assert (half / gguf.WEIGHTS).is_file()
    os.utime(path)
    assert gguf.unpacked(path) == half
    assert made == [path]  # the same file, touched


def test_a_file_in_the_place_of_another_is_unpacked_however_old_it_is(tmp_path: Path, made: list[Path]) -> None:
    path, other = tmp_path / "a.gguf", tmp_path / "b.gguf"
    path.write_bytes(b"GGUF one")
    folder = gguf.unpacked(path)
    other.write_bytes(b"GGUF two")
    os.utime(other, (1_500_000_000, 1_500_000_000))
    other.replace(path)
    assert gguf.unpacked(path) == folder
    assert made == [path, path]


def test_a_folder_that_does_not_say_of_which_file_it_is_is_made_again(tmp_path: Path, made: list[Path]) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"GGUF")
    (gguf.unpacked(path) / gguf.SOURCE).unlink()
    gguf.unpacked(path)
    assert made == [path, path]


def test_what_is_unpacked_is_read_without_a_file_beside_it(tmp_path: Path, made: list[Path]) -> None:
    """As of a share that cannot be written to."""
    path = tmp_path / "a.gguf"
    path.write_bytes(b"GGUF")
    gguf.unpacked(path)
    (tmp_path / "a.gguf.lock").unlink()
    gguf.unpacked(path)
    assert made == [path] and sorted(each.name for each in tmp_path.iterdir()) == ["a.gguf", "a.gguf.transformers"]
