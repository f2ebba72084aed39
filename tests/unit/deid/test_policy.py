"""Policies: digest, strength, the gate, the presets as a run takes them."""

import dataclasses
from pathlib import Path

import pytest

from deemo_dist.config import GatesConfig, KeysConfig, PolicyConfig, load
from deemo_dist.deid import KeyRing, policy_digest, policy_gate, policy_strength
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


def test_the_digest_follows_every_setting_and_the_key() -> None:
    base = PolicyConfig()
    seen = {policy_digest(base, "a"), policy_digest(base, "b")}
    for change in ({"faces": "blur"}, {"dilate": 0.3}, {"voice": "sum"}, {"mute": False}, {"name": "y"}):
        seen.add(policy_digest(dataclasses.replace(base, **change), "a"))
    assert len(seen) == 7
    assert policy_digest(PolicyConfig(), "a") == policy_digest(base, "a")


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
        {"detect_every": 20}, {"face_threshold": 0.9}, {"mask_heads": False},
        {"gates": GatesConfig(residual_faces=0.5)}, {"captions": "keep"}, {"mute": False},
    ],
)  # fmt: skip
def test_what_does_not_de_identify_is_weak(change: dict[str, object]) -> None:
    assert policy_strength(dataclasses.replace(PolicyConfig(), **change)) == "weak"  # type: ignore[arg-type]


def test_a_weak_policy_must_be_asked_for(own: KeyRing, tmp_path: Path) -> None:
    paper = preset("paper", tmp_path)
    with pytest.raises(ConfigError, match="weak"):
        policy_gate(paper, own)
    policy_gate(paper, own, allow_weak=True)


def test_strict_refuses_the_demo_key_and_takes_ones_own(own: KeyRing, tmp_path: Path) -> None:
    strict = preset("strict", tmp_path)
    with pytest.raises(ConfigError, match="demo key") as caught:
        policy_gate(strict, KeyRing.open(KeysConfig(source="demo")))
    assert "\n" not in str(caught.value)
    policy_gate(strict, own)


@pytest.mark.parametrize("change", [{"detect_every": 0}, {"dilate": -0.1}, {"audit_every": 0}, {"detect_width": 8}])
def test_values_without_a_meaning_are_refused(change: dict[str, object], own: KeyRing) -> None:
    with pytest.raises(ConfigError, match=f"policy.{next(iter(change))}"):
        policy_gate(dataclasses.replace(PolicyConfig(), **change), own)  # type: ignore[arg-type]
