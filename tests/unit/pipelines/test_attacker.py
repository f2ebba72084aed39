"""Raw clips and their released samples beside each other, by the audit's own models."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deemo_dist.config import RunConfig
from deemo_dist.dataset.layout import shard_key
from deemo_dist.deid import KeyRing
from deemo_dist.errors import DatasetError
from deemo_dist.media import mux
from deemo_dist.records import Clip
from pipelines.attack import Attacker, Findings
from tests import parts
from tests.made import FRAMES, clips_of, make
from tests.unit.pipelines.test_released import released_of

RATE = 16_000


def clips_in(folder: Path, count: int) -> list[Clip]:
    """Clips that have the pictures of their samples to be, and a second of a tone."""
    tone = np.sin(np.arange(RATE) * 0.05).astype(np.float32) * 0.5
    data = mux(parts.media(frames=FRAMES)[0], tone, RATE)
    for number in range(count):
        (folder / f"{number}.mp4").write_bytes(data)
    made = zip(clips_of(count), range(count), strict=True)
    return [replace(clip, uri=f"file://{folder}/{number}.mp4", size_bytes=len(data)) for clip, number in made]


@pytest.fixture
def clips(config: RunConfig, tmp_path: Path) -> list[Clip]:
    """The raw clips of a dataset that is there."""
    (tmp_path / "raw").mkdir()
    made = clips_in(tmp_path / "raw", 3)
    make(config, made)
    return made


def look(config: RunConfig, clips: list[Clip], *, thorough: bool) -> Findings:
    ring, released = KeyRing.open(config.keys, dataset=config.data.name), released_of(config)
    raw = {ring.sample_key(clip.uri): clip for clip in clips}
    return Attacker(config, released, raw, boxes={}, thorough=thorough).look(released.rows)


@pytest.mark.parametrize("thorough", [True, False])
def test_what_only_a_reader_of_the_report_asks_for_is_left_out_for_the_gates(
    config: RunConfig, clips: list[Clip], thorough: bool
) -> None:
    found = look(config, clips, thorough=thorough)
    assert (len(found.clips), found.lost) == (3, 0)
    assert [item.looks for item in found.clips] == [FRAMES] * 3
    assert (len(found.sounds.voices()), len(found.utility["sync_ms"])) == ((3, 3) if thorough else (0, 0))
    assert [item.still is not None for item in found.clips] == [thorough] * 3


def test_a_raw_clip_that_is_gone_is_counted_and_a_shard_that_is_gone_is_an_error(
    config: RunConfig, clips: list[Clip], tmp_path: Path
) -> None:
    (tmp_path / "raw/1.mp4").unlink()
    found = look(config, clips, thorough=False)
    assert (len(found.clips), found.lost) == (2, 1)
    released = released_of(config)
    (tmp_path / "store" / shard_key(released.prefix, released.rows[0].shard)).unlink()
    with pytest.raises(DatasetError, match=f"shard {released.rows[0].shard} is gone"):
        look(config, clips, thorough=False)


def test_a_raw_clip_that_ends_before_its_first_look_is_lost_and_the_others_are_looked_at(
    config: RunConfig, clips: list[Clip]
) -> None:
    ring, released = KeyRing.open(config.keys, dataset=config.data.name), released_of(config)
    raw = {ring.sample_key(clip.uri): clip for clip in clips}
    longer = replace(released.rows[0], frames=100 * FRAMES)  # as it was before its raw file became shorter
    found = Attacker(config, released, raw, boxes={}, thorough=False).look([longer, *released.rows[1:]])
    assert (found.lost, [item.key for item in found.clips]) == (1, [row.key for row in released.rows[1:]])
