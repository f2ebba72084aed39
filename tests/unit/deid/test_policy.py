"""Policies: digest, strength, the gate, the presets as a run takes them."""

import dataclasses
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from deemo_dist.config import GatesConfig, KeysConfig, PolicyConfig, load
from deemo_dist.deid import KeyRing, policy_digest, policy_gate, policy_strength, weaknesses
from deemo_dist.deid.policy import LINKED
from deemo_dist.errors import ConfigError

SECRET = "00112233445566778899aabbccddeeff102132435465768798a9bacbdcedfe0f"


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> KeyRing:
    monkeypatch.setenv("DEEMO_ROOT_KEY", SECRET)
    return KeyRing.open(KeysConfig())


def preset(name: str, folder: Path) -> PolicyConfig:
    run = folder / "run.yaml"
    run.write_text(f"name: x\nbases: [policies/{name}]\n")
    return load(run).policy


def other(value: Any, kind: Any) -> Any:
    """Another value of a field's type, whatever it means."""
    if isinstance(value, GatesConfig):
        return dataclasses.replace(value, residual_faces=value.residual_faces + 0.01)
    if get_origin(kind) is Literal:
        return next(choice for choice in get_args(kind) if choice != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return f"{value}x"
    return (value or 0) + 1


@pytest.mark.parametrize("kind", [PolicyConfig, GatesConfig])
def test_the_digest_follows_every_setting_and_the_key(kind: type[Any]) -> None:
    base = kind()
    hints = get_type_hints(kind)
    variants = [base] + [
        dataclasses.replace(base, **{field.name: other(getattr(base, field.name), hints[field.name])})
        for field in dataclasses.fields(kind)
    ]
    policies = [each if kind is PolicyConfig else PolicyConfig(gates=each) for each in variants]
    digests = {policy_digest(policy, "a") for policy in policies}
    assert len(digests) == len(dataclasses.fields(kind)) + 1
    assert not digests & {policy_digest(policy, "b") for policy in policies}
    assert policy_digest(PolicyConfig(), "a") in digests


@pytest.mark.parametrize(("name", "strength"), [("standard", "strong"), ("strict", "strong"), ("paper", "weak")])
def test_presets_have_their_name_and_strength(name: str, strength: str, tmp_path: Path) -> None:
    policy = preset(name, tmp_path)
    assert (policy.name, policy_strength(policy)) == (name, strength)


def test_standard_is_the_default(tmp_path: Path) -> None:
    assert preset("standard", tmp_path) == PolicyConfig()


@pytest.mark.parametrize(
    "change",
    [
        {"faces": "mosaic"}, {"faces": "blur"}, {"voice": "mcadams"}, {"dilate": 0.0}, {"hold_frames": 0},
        {"detect_every": 20}, {"detect_width": 80}, {"face_threshold": 0.9}, {"mask_heads": False},
        {"pii_threshold": 0.51}, {"audit_every": 100}, {"captions": "keep"}, {"captions_seconds": 10.0},
        {"mute": False}, {"mute_margin": 0.0}, {"asr": "never"},
        {"gates": GatesConfig(residual_faces=0.5)}, {"gates": GatesConfig(uncertain=1.0)},
        {"gates": GatesConfig(pixel_correlation=None)}, {"gates": GatesConfig(pixel_correlation=0.5)},
    ],
)  # fmt: skip
def test_what_does_not_de_identify_is_weak(change: dict[str, Any]) -> None:
    assert len(weaknesses(dataclasses.replace(PolicyConfig(), **change))) == 1
    assert policy_strength(dataclasses.replace(PolicyConfig(), **change)) == "weak"


@pytest.mark.parametrize("voice", ["prosody", "drop"])
@pytest.mark.parametrize("change", [{"mute": False}, {"mute_margin": 0.0}, {"asr": "never"}])
def test_where_no_voice_is_left_no_name_is_spoken(voice: Any, change: dict[str, Any]) -> None:
    assert policy_strength(dataclasses.replace(PolicyConfig(), voice=voice, **change)) == "strong"


@pytest.mark.parametrize("faces", ["blur", "mosaic"])
def test_the_reason_tells_what_was_measured(faces: Any) -> None:
    (reason,) = weaknesses(PolicyConfig(faces=faces))
    assert LINKED[faces] in reason
    assert "not removed" in reason


def test_a_weak_policy_must_be_asked_for(own: KeyRing, tmp_path: Path) -> None:
    paper = preset("paper", tmp_path)
    with pytest.raises(ConfigError, match=r"not de-identified.*linked \.98") as caught:
        policy_gate(paper, own)
    assert "\n" not in str(caught.value)
    policy_gate(paper, own, allow_weak=True)


def test_strict_refuses_the_demo_key_and_takes_ones_own(own: KeyRing, tmp_path: Path) -> None:
    strict = preset("strict", tmp_path)
    with pytest.raises(ConfigError, match="demo key") as caught:
        policy_gate(strict, KeyRing.open(KeysConfig(source="demo")))
    assert "\n" not in str(caught.value)
    policy_gate(strict, own)


BOUNDED = [
    field.name for field in dataclasses.fields(PolicyConfig) if isinstance(field.default, int | float)
    and not isinstance(field.default, bool)
]  # fmt: skip


@pytest.mark.parametrize("value", [-1.0, 1e15, float("nan"), float("inf")])
@pytest.mark.parametrize("name", BOUNDED)
def test_values_out_of_bounds_are_refused_by_name(name: str, value: float, own: KeyRing) -> None:
    policy = dataclasses.replace(PolicyConfig(), **{name: value})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=rf"policy\.{name} is .* between \S+ and \S+"):
        policy_gate(policy, own, allow_weak=True)


@pytest.mark.parametrize("value", [-0.1, 1e7, float("nan")])
@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(GatesConfig)])
def test_gates_out_of_bounds_are_refused_by_name(name: str, value: float, own: KeyRing) -> None:
    policy = PolicyConfig(gates=dataclasses.replace(GatesConfig(), **{name: value}))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=rf"policy\.gates\.{name} is .* between [01] and 1"):
        policy_gate(policy, own, allow_weak=True)


@pytest.mark.parametrize("name", ["", "two words", "a/b", "x" * 41, "line\n"])
def test_a_policys_name_is_a_plain_word(name: str, own: KeyRing) -> None:
    with pytest.raises(ConfigError, match=r"policy\.name"):
        policy_gate(PolicyConfig(name=name), own)


@pytest.mark.parametrize("preset_name", ["standard", "strict", "paper"])
def test_the_presets_are_within_bounds(preset_name: str, own: KeyRing, tmp_path: Path) -> None:
    policy = preset(preset_name, tmp_path)
    policy_gate(policy, own, allow_weak=True)
    assert bool(weaknesses(policy)) == (preset_name == "paper")


def test_strict_leaves_no_voice_and_gates_the_dataset(tmp_path: Path) -> None:
    strict = preset("strict", tmp_path)
    assert strict.voice == "prosody"
    assert None not in dataclasses.astuple(strict.gates)
