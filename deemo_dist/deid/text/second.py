"""A second ear: Moonshine tiny writes down what Whisper has heard, having learned from other speech, with other words.

Jeffries et al. 2024 (arXiv 2410.15608): an encoder over the waveform, a decoder that writes one token after the other;
the likeliest one each time, so that the same sound gives the same words. No times, no probabilities: Whisper has them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from deemo_dist.deid.runtime import Network, give_back, plain_session
from deemo_dist.weights import fetch

RATE = 16_000
SHORTEST = RATE // 10  # samples: the encoder's convolutions see 895 at least
A_SECOND, AT_LEAST = 8, 8  # tokens written: speech has some four a second, a loop has no end
LAYERS, HEADS, WIDTH = 6, 8, 36
START, END = 1, 2
SPACE = "\u2581"


@dataclass(frozen=True)
class _Loaded:
    encoder: Any
    decoder: Any
    pieces: list[bytes]


class SecondEar(Network):
    """Loads the networks (40 MB) when it is made; can be put away like the others."""

    def __init__(self) -> None:
        super().__init__(_load)

    def __call__(self, sound: np.ndarray) -> str:
        """What is said in ``sound``: float [N] at 16 kHz, at most half a minute. An empty text where it hears none."""
        if len(sound) == 0:
            return ""
        loaded: _Loaded = self._running
        wave = np.pad(sound, (0, max(0, SHORTEST - len(sound)))).astype(np.float32)[None]
        mask = np.ones(wave.shape, dtype=np.int64)
        (states,) = loaded.encoder.run(None, {"input_values": wave, "attention_mask": mask}, give_back())
        limit = AT_LEAST + A_SECOND * len(sound) // RATE
        written = _written(loaded.decoder, {"encoder_hidden_states": states, "encoder_attention_mask": mask}, limit)
        text = b"".join(loaded.pieces[token] for token in written).decode("utf-8", "ignore")
        return " ".join(text.replace(SPACE, " ").split())


def _written(decoder: Any, heard: dict[str, np.ndarray], limit: int) -> list[int]:
    """The likeliest tokens one after the other up to the end, ``limit`` of them at most."""
    past = {name: np.zeros((0, HEADS, 1, WIDTH), np.float32) for name in _cache_names()}
    tokens: list[int] = [START]
    while len(tokens) <= limit:
        known = len(tokens) > 1
        last = np.array([tokens[-1:]], dtype=np.int64)
        logits, *present = decoder.run(
            None, {**heard, **past, "input_ids": last, "use_cache_branch": np.array([known])}
        )
        tokens.append(int(logits[0, -1].argmax()))
        if tokens[-1] == END:
            break
        past |= {name: value for name, value in zip(past, present, strict=True) if not known or ".decoder." in name}
    return [token for token in tokens if token not in (START, END)]


def _cache_names() -> list[str]:
    """Keys and values by layer, in the order in which the decoder returns them."""
    return [
        f"past_key_values.{layer}.{side}.{part}"
        for layer in range(LAYERS)
        for side in ("decoder", "encoder")
        for part in ("key", "value")
    ]


def _load() -> _Loaded:
    folder = fetch("moonshine-tiny")
    return _Loaded(
        encoder=plain_session(folder / "encoder_model.ort"),
        decoder=plain_session(folder / "decoder_model_merged.ort"),
        pieces=_pieces((folder / "tokenizer.bin").read_bytes()),
    )


def _pieces(raw: bytes) -> list[bytes]:
    """The bytes that each token stands for: they are written behind their number, which takes one byte."""
    pieces, at = [], 0
    while at < len(raw):
        end = at + 1 + raw[at]
        pieces.append(raw[at + 1 : end])
        at = end
    return pieces
