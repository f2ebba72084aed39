import dataclasses

from deemo_dist.config import load
from pipelines.card import _parts


def test_pretrained_parts_are_named_with_their_terms():
    model = load("demo", []).model
    pretrained = dataclasses.replace(model, llm=dataclasses.replace(model.llm, source="weights:smollm2-135m"))
    language, vision, audio = _parts(pretrained)
    assert "Apache-2.0" in language and "FineWeb-Edu" in language and "uploaded by Simon Willison" in language
    assert vision.endswith("random weights, trained here from nothing") and audio.startswith("audio: ")


def test_a_part_from_elsewhere_is_on_its_own_terms():
    model = load("demo", []).model
    elsewhere = dataclasses.replace(model, vision=dataclasses.replace(model.vision, source="google/siglip-base"))
    assert _parts(elsewhere)[1] == "vision: `google/siglip-base`, on its own terms"
