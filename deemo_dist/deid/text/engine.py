"""Presidio with what it is given here: the pinned spaCy model, our recognisers, nothing that could use the network."""

from typing import Any

from deemo_dist.deid.text.vocabulary import Vocabulary
from deemo_dist.imports import without
from deemo_dist.weights import fetch

SPACY_LABELS = {
    "PERSON": "PERSON", "GPE": "LOCATION", "LOC": "LOCATION", "FAC": "LOCATION", "ORG": "ORGANIZATION",
    "EVENT": "ORGANIZATION",
}  # fmt: skip


def load_engine() -> tuple[Any, Vocabulary]:
    """Presidio over the pinned spaCy model, without any recogniser that could use the network; English words."""
    with without("torch", "transformers"):
        import spacy
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
        from presidio_analyzer import predefined_recognizers as presidio
        from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine

        from deemo_dist.deid.text.names import NameRecogniser
        from deemo_dist.deid.text.recognisers import (
            StrictIbanRecogniser,
            english_lemmas,
            made_strict,
            pattern_recognisers,
        )

    ner = NerModelConfiguration(
        model_to_presidio_entity_mapping=SPACY_LABELS,
        labels_to_ignore=["CARDINAL", "DATE", "TIME", "ORDINAL", "QUANTITY", "MONEY", "PERCENT", "NORP", "PRODUCT",
                          "WORK_OF_ART", "LAW", "LANGUAGE"],
        low_score_entity_names=[],
    )  # fmt: skip
    engine = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": "pinned"}], ner_model_configuration=ner)
    nlp = spacy.load(fetch("spacy-en-sm"), exclude=["parser", "senter"])
    engine.nlp = {"en": nlp}  # type: ignore[assignment]
    vocabulary = Vocabulary(english_lemmas(nlp))
    registry = RecognizerRegistry(supported_languages=["en"])
    recognisers = (
        presidio.SpacyRecognizer(supported_entities=["PERSON", "LOCATION", "ORGANIZATION"]),
        presidio.PhoneRecognizer(),
        presidio.CreditCardRecognizer(),
        StrictIbanRecogniser(),
        presidio.IpRecognizer(),
        presidio.UsSsnRecognizer(),
        *pattern_recognisers(),
        NameRecogniser(vocabulary),
    )
    for recogniser in made_strict(recognisers):
        registry.add_recognizer(recogniser)
    return AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"]), vocabulary
