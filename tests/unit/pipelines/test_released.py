"""What is read back out of a data set's shards: few frames at a time, and faults that name their shard."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from deemo_dist.config import RunConfig
from deemo_dist.dataset import open_dataset
from deemo_dist.dataset.layout import shard_key
from deemo_dist.errors import CorruptDataError, DatasetError
from deemo_dist.media import decode_frames, encode_video
from deemo_dist.storage import open_store
from pipelines.released import TOGETHER, Released
from tests import parts
from tests.made import clips_of, make


def released_of(config: RunConfig) -> Released:
    """What the run's data set holds."""
    store = open_store(config.storage)
    dataset = open_dataset(store, config.data.name, config.data.version)
    return Released(store=store, prefix=dataset.prefix, rows=list(dataset.index), annotations=dataset.annotations)


def shard_of(released: Released, folder: Path) -> Path:
    """The file of the first row's shard."""
    return folder / "store" / shard_key(released.prefix, released.rows[0].shard)


def test_any_number_of_frames_is_decoded_a_few_at_a_time(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    make(config, clips_of(3))
    released, count = released_of(config), 6 * TOGETHER + 3
    pixels = np.zeros((count, 240, 320, 3), np.uint8) + np.arange(count, dtype=np.uint8)[:, None, None, None]
    video, each = encode_video(pixels, 25.0), pixels[0].nbytes
    monkeypatch.setattr(Released, "member", lambda *_: video)
    tracemalloc.start()
    try:
        shown = [float(frame.mean()) for frame in released.frames(released.rows[0], range(count))]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * TOGETHER * each
    assert shown == [float(frame.mean()) for frame in decode_frames(video, np.arange(count))]


def test_a_shard_that_is_gone_is_an_error_of_its_own(config: RunConfig, tmp_path: Path) -> None:
    make(config, clips_of(3))
    released = released_of(config)
    shard_of(released, tmp_path).unlink()
    with pytest.raises(DatasetError, match=rf"shard {released.rows[0].shard} is gone.*`deemo dataset verify`"):
        released.member(released.rows[0], "mp4")


def test_a_shard_that_cannot_be_reached_is_named(config: RunConfig, tmp_path: Path) -> None:
    make(config, clips_of(3))
    released = released_of(config)
    shard = shard_of(released, tmp_path)
    shard.unlink()
    shard.symlink_to(shard)  # a loop
    with pytest.raises(DatasetError, match=rf"shard {released.rows[0].shard} with sample .* cannot be read"):
        released.member(released.rows[0], "mp4")


def test_a_video_that_ends_before_its_row_is_damaged(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    make(config, clips_of(3))
    released = released_of(config)
    monkeypatch.setattr(Released, "member", lambda *_: parts.media(frames=4)[0])
    with pytest.raises(CorruptDataError, match=f"sample {released.rows[0].key} has fewer frames"):
        list(released.frames(released.rows[0], [0, 4]))
