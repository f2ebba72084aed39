"""Keys that would leave the root, or could not be written everywhere, are refused before anything is touched."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deemo_dist.config import StorageConfig
from deemo_dist.errors import ConfigError, StorageError
from deemo_dist.storage import open_store, read_uri
from deemo_dist.storage.keys import check_key, file_path, file_uri

BAD = ["", "/etc/passwd", "..", "a/../b", "a/./b", "a//b", "a/", "a\\b", "a\nb", "x" * 901, "a/.half.tmp"]


@pytest.mark.parametrize("key", BAD)
def test_bad_keys_are_refused_by_every_call(key: str, tmp_path: Path) -> None:
    for root in (f"file://{tmp_path}/root", "s3://bucket/prefix"):
        store = open_store(StorageConfig(root=root))
        for call in (store.get, store.exists, store.size, store.delete, store.uri, store.local_path):
            with pytest.raises(StorageError):
                call(key)
        for call in (store.put, store.put_new):
            with pytest.raises(StorageError):
                call(key, b"data")
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("key", ["a", "a/b.tar", ".hidden/x", "ü/ß", "a b", "x.tmp", "..a/b.."])
def test_good_keys_pass(key: str) -> None:
    assert check_key(key) == key


@given(st.text(max_size=40))
def test_an_accepted_key_stays_below_the_root(key: str) -> None:
    try:
        check_key(key)
    except StorageError:
        return
    root = Path("/root/of/store")
    assert (root / key).resolve().is_relative_to(root)


@given(st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_file_uris_come_back(name: str) -> None:
    path = Path("/nowhere") / name
    assert file_path(file_uri(path)) == path


def test_other_schemes_and_nameless_buckets_are_refused() -> None:
    for root in ("http://host/x", "gs://bucket", "s3://", "s3:///key"):
        with pytest.raises(ConfigError):
            open_store(StorageConfig(root=root))
    with pytest.raises(ConfigError):
        read_uri("ftp://host/x", StorageConfig())
