"""The second ear: what is said, the same again, nothing of nothing, and an end to it."""

import numpy as np
import pytest

from deemo_dist.deid.runtime import Network
from deemo_dist.deid.text import second
from deemo_dist.deid.text.second import RATE, SecondEar
from tests.voices import speak

SENTENCE = "The referee gave me a warning and I was so angry that I broke my racket."


@pytest.fixture(scope="module")
def ear() -> SecondEar:
    return SecondEar()


@pytest.mark.slow
def test_a_sentence_is_written_down_and_again_after_the_networks_were_put_away(ear: SecondEar) -> None:
    sound = speak(SENTENCE)
    written = ear(sound)
    same = set(written.lower().strip(".").split()) & set(SENTENCE.lower().strip(".").split())
    assert len(same) >= 12
    Network.put_away()
    assert ear(sound) == written


def test_of_no_sound_nothing_is_written(ear: SecondEar) -> None:
    assert ear(np.zeros(0, np.float32)) == ""


def test_the_shortest_sounds_are_heard_too(ear: SecondEar) -> None:
    for length in (1, 895, RATE // 10):
        assert len(ear(np.zeros(length, np.float32))) <= 40


def test_writing_ends_where_the_network_finds_no_end(ear: SecondEar, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that says one word for ever is broken off at eight tokens a second and eight more."""
    monkeypatch.setattr(second, "END", -1)
    loud = 0.3 * np.sin(np.arange(RATE) * 0.2).astype(np.float32)
    asked: list[int] = []
    decoder = ear._running.decoder

    class Counting:
        def run(self, *args: object) -> list[np.ndarray]:
            asked.append(1)
            return list(decoder.run(*args))

    states = np.zeros((1, 4, 288), np.float32)
    mask = np.ones((1, len(loud)), np.int64)
    tokens = second._written(Counting(), {"encoder_hidden_states": states, "encoder_attention_mask": mask}, 16)
    assert len(asked) == 16
    assert len(tokens) <= 16


def test_the_pieces_of_a_tokenizer_are_read_behind_their_length() -> None:
    assert second._pieces(b"\x03<s>\x00\x02er") == [b"<s>", b"", b"er"]
