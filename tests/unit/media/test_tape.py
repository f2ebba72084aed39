"""Long sounds: read in parts, decoded again, and never another sound than the first time."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deemo_dist.errors import MediaError
from deemo_dist.media import Bounds, FlacWriter, Sandbox, Tape, decode_here, encode_flac, encode_video, mux
from deemo_dist.media import tape as tapes
from deemo_dist.media.source import SandboxClip

BOUNDS = Bounds(cpu_seconds=20, memory_mb=1024)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as one:
        yield one


@pytest.fixture
def spoken(tmp_path: Path, frames: np.ndarray) -> Path:
    """A second of picture, four of sound."""
    noise = np.random.default_rng(0).normal(0, 0.1, 4 * 44_100).clip(-1, 1).astype(np.float32)
    path = tmp_path / "spoken.mp4"
    path.write_bytes(mux(encode_video(frames[:24], 24), noise, 44_100))
    return path


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=30),
    st.lists(st.tuples(st.integers(0, 900), st.integers(0, 200)), max_size=20),
    st.integers(0, 60),
)
@settings(max_examples=60, deadline=None)
def test_parts_of_a_tape_are_those_of_the_sound(sizes: list[int], reads: list[tuple[int, int]], behind: int) -> None:
    sound = np.arange(sum(sizes), dtype=np.float32)
    ends = list(itertools.accumulate(sizes))
    passes = [0]

    def begin() -> Iterator[np.ndarray]:
        passes[0] += 1
        return (sound[end - size : end] for size, end in zip(sizes, ends, strict=True))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tapes, "BEHIND", behind)
        tape = Tape(begin, len(sound))
        for start, count in reads:
            assert np.array_equal(tape[start : start + count], sound[start : start + count])
        assert np.array_equal(tape[:], sound)
        assert passes[0] <= 1 + len(reads)
        passes[0] = 0
        forwards = Tape(begin, len(sound))
        for at in range(0, len(sound), 7):
            assert np.array_equal(forwards[at : at + 7], sound[at : at + 7])
            assert sum(len(block) for block in forwards._held) <= behind + 14 + 2 * max(sizes)
    assert passes[0] == 1


def test_a_tape_that_comes_once_is_not_begun_again() -> None:
    tape = Tape.once(iter(np.ones((200, tapes.SOUND_RATE), np.float32)), 200 * tapes.SOUND_RATE)
    assert len(tape[100 * tapes.SOUND_RATE :]) == 100 * tapes.SOUND_RATE
    with pytest.raises(LookupError):
        tape[:10]


def test_blocks_that_end_too_early_are_an_error() -> None:
    with pytest.raises(MediaError) as caught:
        Tape(lambda: iter([np.zeros(10, np.float32)]), 11)[:]
    assert caught.value.reason == "unstable"


def test_a_long_sound_is_decoded_again_and_is_the_same(sandbox: Sandbox, spoken: Path) -> None:
    whole = decode_here(spoken, BOUNDS).waveform
    assert whole is not None
    source = sandbox.open(spoken, BOUNDS, keep_sound=1000)
    for _ in range(2):
        heard = source.sound()
        assert heard is not None
        assert isinstance(heard[0], Tape)
        assert len(heard[0]) == len(whole)
        assert np.array_equal(heard[0][30_000:40_000], whole[30_000:40_000])
        assert np.array_equal(heard[0][:], whole)
        assert len(list(source.frames())) == 24, "a pass of sound that was left does not spoil one of pictures"
    short = sandbox.open(spoken, BOUNDS, keep_sound=4 * len(whole)).sound()
    assert short is not None
    assert isinstance(short[0], np.ndarray)


@pytest.mark.parametrize("change", ["other", "shorter", "longer"])
def test_a_sound_that_changes_between_passes_is_refused(
    sandbox: Sandbox, spoken: Path, frames: np.ndarray, change: str
) -> None:
    heard = sandbox.open(spoken, BOUNDS, keep_sound=0).sound()
    assert heard is not None
    seconds = {"other": 4, "shorter": 3, "longer": 5}[change]
    sound = np.random.default_rng(1).normal(0, 0.1, seconds * 44_100).clip(-1, 1).astype(np.float32)
    if change != "other":
        sound[: 3 * 44_100] = np.random.default_rng(0).normal(0, 0.1, 3 * 44_100).clip(-1, 1)
    spoken.write_bytes(mux(encode_video(frames[:24], 24), sound, 44_100))
    with pytest.raises(MediaError) as caught:
        heard[0][:]
    assert caught.value.reason in ("unstable", "bad_audio")


@pytest.mark.parametrize("size", [0, 1, 2_000_000])
def test_a_decoder_that_sends_no_end_of_sound_is_stopped(sandbox: Sandbox, spoken: Path, size: int) -> None:
    endless = SandboxClip(
        lambda *_: itertools.repeat(np.zeros(size, np.float32)), sandbox.probe(spoken, BOUNDS), BOUNDS
    )
    with pytest.raises(MediaError) as caught:
        endless.sound()
    assert caught.value.reason == "too_long"


@given(st.lists(st.integers(0, 9_000), max_size=8))
@settings(max_examples=20, deadline=None)
def test_flac_is_the_same_whatever_the_blocks(sizes: list[int]) -> None:
    sound = np.random.default_rng(0).normal(0, 0.3, sum(sizes)).astype(np.float32)
    writer = FlacWriter()
    for size, end in zip(sizes, itertools.accumulate(sizes), strict=True):
        writer.write(sound[end - size : end])
    assert writer.samples == len(sound)
    assert writer.close() == encode_flac(sound)
