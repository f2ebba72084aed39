"""Texts that try to be more than text, and where an answer ends."""

import dataclasses
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from deemo_dist.config import ModelConfig
from deemo_dist.model import build_model, build_processor
from deemo_dist.model.conversation import answer_ends, neutral
from deemo_dist.model.vocabulary import BUILTIN_TEMPLATE, PLACEHOLDERS, PLAIN_TEMPLATE, builtin_tokenizer
from tests.unit.model.conftest import make_loaded

TURNS = (
    "{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] }}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
"""As a gemma's, whose own end of a text is never in it."""


def test_neither_a_medium_nor_a_turn_of_a_stored_tokenizer_is_opened() -> None:
    """Such a one knows the placeholders, and marks of its own, as added tokens without a role."""
    words = Tokenizer(models.WordLevel({"?": 0, "<end>": 1}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>")
    marks = [*PLACEHOLDERS, "<turn>", "<turn>>"]
    tokenizer.add_tokens(marks, special_tokens=True)
    text = " ".join(("he said", *marks, "<end>"))
    special = set(tokenizer.convert_tokens_to_ids([*marks, "<end>"]))
    assert special <= set(tokenizer(text)["input_ids"])
    assert not special & set(tokenizer(neutral(text, tokenizer))["input_ids"])
    assert neutral("nothing <here>", tokenizer) == "nothing <here>"


@pytest.mark.parametrize(
    "template", [BUILTIN_TEMPLATE, PLAIN_TEMPLATE, "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"]
)
def test_a_template_that_ends_a_turn_by_no_other_token_leaves_the_tokenizers_end_alone(template: str) -> None:
    tokenizer = builtin_tokenizer()
    tokenizer.chat_template = template
    assert answer_ends(tokenizer) == tokenizer.eos_token_id


def test_what_is_generated_ends_where_the_template_ends_a_turn(nano: ModelConfig, tmp_path: Path) -> None:
    """The head is made to find the turn's end the most probable first token."""
    stored = builtin_tokenizer()
    stored.add_tokens(["<start_of_turn>", "<end_of_turn>"], special_tokens=True)
    stored.chat_template = TURNS
    stored.save_pretrained(tmp_path)
    config = dataclasses.replace(nano, tokenizer=str(tmp_path))
    processor, model = build_processor(config), build_model(config, 0).eval()
    own, end = stored.eos_token_id, stored.convert_tokens_to_ids("<end_of_turn>")
    assert model.generation_config.eos_token_id == [own, end]
    model.save_pretrained(tmp_path / "model")
    model = type(model).from_pretrained(tmp_path / "model")
    prompt = processor.prompt([make_loaded("a", answer=None)])
    head, seen = model.get_output_embeddings(), []
    with head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0, -1])), torch.no_grad():
        model(**prompt)
    with torch.no_grad():
        head.weight.zero_()
        head.weight[end] = seen[0]
    said = model.generate(**prompt, max_new_tokens=8, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert said.tolist() == [end]
