"""Texts that try to be more than text."""

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from deemo_dist.model.conversation import neutral
from deemo_dist.model.vocabulary import PLACEHOLDERS


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
