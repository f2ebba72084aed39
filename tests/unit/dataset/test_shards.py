"""Units and shards: a function of the manifest, of the bytes, and readable by anybody."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from deemo_dist.dataset import Sample, ShardWriter, plan_units
from deemo_dist.dataset.sample import encode_cues, sample_files
from deemo_dist.errors import DatasetError
from deemo_dist.records import Clip

KEYS = st.integers(0, 2**128 - 1).map(lambda number: f"{number:032x}")
FILES = st.dictionaries(st.sampled_from(["mp4", "flac", "cues.npy", "json"]), st.binary(max_size=1500), min_size=1)
SAMPLES = st.dictionaries(KEYS, FILES, min_size=1, max_size=5)


def written(samples: dict[str, dict[str, bytes]]) -> Any:
    writer = ShardWriter(7)
    for key, files in samples.items():
        writer.add(key, files)
    return writer.finish()


@given(SAMPLES)
@settings(max_examples=60, deadline=None)
def test_the_same_samples_give_the_same_bytes_and_the_index_is_true(samples: dict[str, dict[str, bytes]]) -> None:
    shard = written(samples)
    assert shard == written(samples)
    assert shard.tar.blake3 == blake3(b"".join(shard.chunks)).hexdigest()
    assert shard.tar.name == f"00007-{shard.tar.blake3[:16]}.tar"
    with tarfile.open(fileobj=io.BytesIO(b"".join(shard.chunks)), mode="r:") as tar:
        found = {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
        assert all((info.mtime, info.uid, info.gid, info.type) == (0, 0, 0, tarfile.REGTYPE) for info in tar)
    assert found == {f"{key}.{ext}": data for key, files in samples.items() for ext, data in files.items()}
    for key, members in shard.members.items():
        for member in members:
            content = b"".join(shard.chunks)[member.offset : member.offset + member.size]
            assert content == samples[key][member.extension]
            assert member.blake3 == blake3(content).hexdigest() and member.holds(content)
            assert not member.holds(content + b"!")


def test_webdataset_reads_every_sample(made: Any, tmp_path: Path) -> None:
    clips = made.clips(6)
    samples = [made.sample(clip, number) for number, clip in enumerate(clips)]
    shard = written({sample.key: sample_files(sample) for sample in samples})
    (tmp_path / shard.tar.name).write_bytes(b"".join(shard.chunks))
    found = {row["__key__"]: row for row in webdataset.WebDataset(str(tmp_path / shard.tar.name), shardshuffle=False)}
    assert list(found) == [sample.key for sample in samples]
    for sample in samples:
        row = found[sample.key]
        assert row["mp4"] == sample.video
        assert ("flac" in row) == (sample.audio is not None)
        assert json.loads(row["json"])["attestation"]["strength"] == "strong"


def test_cues_are_the_same_bytes_for_equal_arrays() -> None:
    cues = np.random.default_rng(0).random((5, 4, 3))
    data = encode_cues(cues)
    assert data == encode_cues(np.asfortranarray(cues.astype(np.float32)))
    assert np.array_equal(np.load(io.BytesIO(data)), cues.astype(np.float16))
    with pytest.raises(DatasetError):
        encode_cues(cues[:, :, :2])


@pytest.mark.parametrize(
    ("key", "files"), [("../../etc/passwd", {"mp4": b""}), ("a" * 32, {"exe": b""}), ("b" * 32, {})]
)
def test_names_that_readers_would_take_apart_are_refused(key: str, files: dict[str, bytes]) -> None:
    with pytest.raises(DatasetError):
        ShardWriter(0).add(key, files)


def test_an_empty_shard_is_none() -> None:
    assert ShardWriter(0).finish() is None


@given(st.lists(st.integers(0, 500), min_size=1, max_size=60), st.integers(1, 1000))
def test_units_hold_every_clip_in_order(sizes: list[int], target: int) -> None:
    clips = [
        Clip(uri=f"file:///{n}", subject="s", split="train", source="x", size_bytes=b) for n, b in enumerate(sizes)
    ]
    units = plan_units(clips, target)
    assert [clip for unit in units for clip in unit.clips] == clips
    assert [unit.index for unit in units] == list(range(len(units)))
    assert all(sum(c.size_bytes for c in unit.clips) <= target or len(unit.clips) == 1 for unit in units)
    assert units == plan_units(tuple(clips), target)


def test_units_refuse_what_makes_no_sense(made: Any) -> None:
    clips = made.clips(2)
    for bad, size in (([], 100), (clips, 0), ([*clips, clips[0]], 100)):
        with pytest.raises(DatasetError):
            plan_units(bad, size)


def test_a_sample_has_the_members_it_has_media_for(made: Any) -> None:
    sample: Sample = made.sample(made.clips(12)[11], 11)
    assert list(sample_files(sample)) == ["mp4", "json"]
