"""Placeholders and media that do not match are refused where a batch is made, whatever device it goes to."""

import dataclasses

import pytest
import torch

from deemo_dist.errors import ModelError
from deemo_dist.model.placeholders import refuse_mismatch
from deemo_dist.model.processing import DeemoLlamaProcessor


class Careless(DeemoLlamaProcessor):
    """One that lets a placeholder too many into an example's tokens, at its end."""

    extra = 0

    def sequence(self, example, *, answer=True):
        made = super().sequence(example, answer=answer)
        return dataclasses.replace(made, ids=(*made.ids, self.placeholder_ids[self.extra]), labels=(*made.labels, -100))


@pytest.mark.parametrize(("number", "what"), enumerate(("video", "audio", "cue")))
def test_a_placeholder_too_many_is_refused_in_every_kind_of_batch(processor, loaded, number: int, what: str) -> None:
    careless = Careless(processor.tokenizer, processor.settings)
    careless.extra = number
    item = loaded("a")
    for make in (careless.pack, careless.prompt, lambda items: careless.variants(items, ["positive", "negative"])):
        with pytest.raises(ModelError, match=f"{what} placeholders in the tokens of a batch, but .* {what} embeddings"):
            make([item])


@pytest.mark.parametrize("names", [("pixel_values",), ("input_features",), ("cue_values",)])
def test_a_medium_too_few_is_refused(processor, loaded, names: tuple[str, ...]) -> None:
    pack = processor.pack([loaded("a"), loaded("b")])
    refuse_mismatch(pack, processor.placeholder_ids, processor.projectors)
    short = {**pack, **{name: pack[name][:1] for name in names}}
    with pytest.raises(ModelError, match="placeholders in the tokens of a batch"):
        refuse_mismatch(short, processor.placeholder_ids, processor.projectors)


def test_null_media_need_no_placeholder(processor, loaded) -> None:
    for batch in (processor.null_pack(), processor.pack([loaded("a", modalities=("text",))])):
        assert not torch.isin(batch["input_ids"], torch.tensor(processor.placeholder_ids)).any()
        assert all(len(batch[name]) for name in ("pixel_values", "input_features", "cue_values"))
        refuse_mismatch(batch, processor.placeholder_ids, processor.projectors)
        batch["input_ids"][0, -1] = processor.placeholder_ids[0]
        with pytest.raises(ModelError, match="1 video placeholders"):
            refuse_mismatch(batch, processor.placeholder_ids, processor.projectors)
