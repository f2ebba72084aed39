"""Keys: derivation against RFC 5869, separation of purposes, refusals in one line."""

import base64
import pickle
from pathlib import Path

import pytest

from deemo_dist.config import KeysConfig
from deemo_dist.deid.keys import DEMO_ROOT_KEY, KeyRing, hkdf, person_token
from deemo_dist.errors import ConfigError

SECRET = "00112233445566778899aabbccddeeff102132435465768798a9bacbdcedfe0f"


def opened(monkeypatch: pytest.MonkeyPatch, text: str, dataset: str = "d") -> KeyRing:
    monkeypatch.setenv("DEEMO_ROOT_KEY", text)
    return KeyRing.open(KeysConfig(source="environment"), dataset=dataset)


def test_hkdf_gives_the_vectors_of_rfc_5869() -> None:
    one = hkdf(bytes([0x0B] * 22), bytes(range(0xF0, 0xFA)), salt=bytes(range(13)), length=42)
    assert one.hex() == ("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")
    three = hkdf(bytes([0x0B] * 22), b"", length=42)
    assert three.hex() == ("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8")


def test_keys_have_their_form_and_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    ring, again = opened(monkeypatch, SECRET), opened(monkeypatch, SECRET)
    assert len(ring.sample_key("file:///a.mp4")) == 32
    assert set(ring.sample_key("file:///a.mp4")) <= set("0123456789abcdef")
    assert ring.sample_key("u") == again.sample_key("u")
    assert ring.voice_seed("u") == again.voice_seed("u") < 2**63
    assert len(ring.content_digest(b"x")) == 64
    assert not ring.demo
    assert len(ring.key_id) == 16


def test_purposes_and_datasets_cannot_be_linked(monkeypatch: pytest.MonkeyPatch) -> None:
    ring, other = opened(monkeypatch, SECRET), opened(monkeypatch, SECRET, dataset="e")
    values = {ring.sample_key("x"), ring.subject_key("x"), ring.content_digest(b"x")[:32], other.sample_key("x")}
    assert len(values | {other.subject_key("x")}) == 5
    assert ring.key_id == other.key_id
    assert ring.voice_seed("x") != other.voice_seed("x")


def test_a_boundary_between_dataset_and_purpose_is_not_forgeable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened(monkeypatch, SECRET, "a").subject_key("x") != opened(monkeypatch, SECRET, "a/subject").sample_key("x")


def test_base64_and_hex_are_the_same_key(monkeypatch: pytest.MonkeyPatch) -> None:
    text = base64.b64encode(bytes.fromhex(SECRET)).decode()
    assert opened(monkeypatch, text).key_id == opened(monkeypatch, SECRET).key_id


def test_a_file_serves_as_well(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = KeyRing.open(KeysConfig(source="file", path=str(key_file)), dataset="d")
    assert ring.key_id == opened(monkeypatch, SECRET).key_id


def test_the_demo_key_is_marked_however_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert KeyRing.open(KeysConfig(source="demo")).demo
    assert opened(monkeypatch, DEMO_ROOT_KEY.hex()).demo


@pytest.mark.parametrize("text", ["", "  \n", "abcd", "not a key, but a sentence!", "00" * 32, "ab" * 40, SECRET[:62]])
def test_a_missing_or_weak_key_is_refused_in_one_line(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError) as caught:
        opened(monkeypatch, text)
    assert "\n" not in str(caught.value)
    assert "DEEMO_ROOT_KEY" in str(caught.value)
    assert not text.strip() or text not in str(caught.value)


@pytest.mark.parametrize("path", [None, "/does/not/exist"])
def test_a_missing_key_file_is_refused_in_one_line(path: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        KeyRing.open(KeysConfig(source="file", path=path))
    assert "\n" not in str(caught.value)


def test_no_secret_shows_and_a_ring_survives_pickling(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = opened(monkeypatch, SECRET)
    assert SECRET[:8] not in repr(ring)
    assert str(bytes.fromhex(SECRET))[2:10] not in repr(ring)
    assert pickle.loads(pickle.dumps(ring)).sample_key("u") == ring.sample_key("u")


def test_what_is_sealed_opens_under_its_own_key_and_dataset_only(monkeypatch: pytest.MonkeyPatch) -> None:
    ring, other = opened(monkeypatch, SECRET), opened(monkeypatch, SECRET, dataset="e")
    sealed = ring.seal(b"Anna Keller")
    assert b"Anna" not in sealed
    assert sealed != ring.seal(b"Anna Keller")
    assert ring.unseal(sealed) == b"Anna Keller"
    stranger = opened(monkeypatch, "f" + SECRET[1:])
    for key, data in ((other, sealed), (stranger, sealed), (ring, sealed[:-1]), (ring, b""), (ring, sealed[:12])):
        with pytest.raises(ConfigError, match="root key"):
            key.unseal(data)


def test_one_suppression_key_for_all_datasets_and_none_of_another_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEMO_ROOT_KEY", SECRET)
    ring = KeyRing.open(KeysConfig(), dataset="a")
    assert ring.of("b") == KeyRing.open(KeysConfig(), dataset="b") and ring.of("a") == ring
    assert ring.suppression_key() == ring.of("b").suppression_key()
    token = person_token(ring.suppression_key(), "Zora")
    assert len(token) == 64 and token not in (person_token(ring.suppression_key(), "zora"), ring.subject_key("Zora"))
    monkeypatch.setenv("DEEMO_ROOT_KEY", SECRET[::-1])
    assert KeyRing.open(KeysConfig()).suppression_key() != ring.suppression_key()
