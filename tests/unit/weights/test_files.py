"""Digests of files of weights: of the bytes as they are now, which are read once."""

import hashlib
from pathlib import Path

import pytest

from deemo_dist.weights import cache, files


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "cache"))


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows with each file that is really hashed."""
    hashed: list[str] = []
    whole = hashlib.file_digest

    def digest(file, kind):
        hashed.append(Path(file.name).name)
        return whole(file, kind)

    monkeypatch.setattr(hashlib, "file_digest", digest)
    return hashed


def test_a_file_is_hashed_once_and_again_when_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = reads(monkeypatch)
    monkeypatch.setattr(files, "SETTLED_SECONDS", -1.0)
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"weights")
    assert [files.digest_of_file(path) for _ in range(2)] == [hashlib.sha256(b"weights").hexdigest()] * 2
    assert hashed == ["a.safetensors"]
    path.write_bytes(b"weightz")
    assert files.digest_of_file(path) == hashlib.sha256(b"weightz").hexdigest()


def test_nothing_is_noted_of_a_file_that_was_just_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = reads(monkeypatch)
    path = tmp_path / "a"
    path.write_bytes(b"a")
    assert files.digest_of_file(path) == files.digest_of_file(path)
    assert hashed == ["a", "a"]


def test_a_file_of_the_hubs_cache_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = reads(monkeypatch)
    name = hashlib.sha256(b"x").hexdigest()
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / name).write_bytes(b"x")
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "blobs" / name)
    assert files.digests_of([tmp_path / "model.safetensors"]) == [name]
    assert hashed == []


def test_without_room_for_a_note_the_digest_is_right_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SETTLED_SECONDS", -1.0)
    (tmp_path / "cache").write_text("a file where a folder must be")
    (tmp_path / "a").write_bytes(b"a")
    assert files.digest_of_file(tmp_path / "a") == hashlib.sha256(b"a").hexdigest()
