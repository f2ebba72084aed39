"""A synthetic voice that speaks a sentence: Piper's en_US-joe, sounds of words by eSpeak NG. For tests and benches.

Nobody's voice is committed: both parts are pinned weights. Noise is off, so the same sentence gives the same samples.
"""

import ctypes
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from deemo_dist.deid.voice.disguise import Method, disguise_into
from deemo_dist.deid.voice.muting import Seconds
from deemo_dist.media import resample
from deemo_dist.weights import fetch

RATE = 16_000
SYNCHRONOUS, UTF8, IPA = 2, 1, 2


@dataclass(frozen=True)
class Disguised:
    """``waveform``: float32 [N] at 16 kHz in [-1, 1]; ``figures``: what was measured."""

    waveform: np.ndarray
    figures: dict[str, float] = field(default_factory=dict)


def disguise(
    waveform: np.ndarray, rate: int, *, method: Method, seed: int, mutes: Sequence[Seconds] = ()
) -> Disguised | None:
    """The voice in ``waveform`` (float32 [N], mono, at ``rate`` Hz) disguised by the product, in memory."""
    blocks: list[np.ndarray] = []
    figures = disguise_into(waveform, rate, blocks.append, method=method, seed=seed, mutes=mutes)
    return None if figures is None else Disguised(np.concatenate(blocks), figures)


def speak(text: str, *, pace: float = 1.0, language: str = "en-us") -> np.ndarray:
    """``text`` spoken: float32 [N] at 16 kHz, a quarter of a second of silence on both sides. ``pace``: 2 is slow;
    ``language``: whose sounds they are (the voice stays an American's)."""
    session, config = _voice()
    table = config["phoneme_id_map"]
    ids = list(table["^"])
    for sound in sounds(text, language):
        ids += [*table.get(sound, []), *table["_"]]
    ids += table["$"]
    made = session.run(
        None,
        {
            "input": np.array([ids], dtype=np.int64),
            "input_lengths": np.array([len(ids)], dtype=np.int64),
            "scales": np.array([0.0, pace, 0.0], dtype=np.float32),
        },
    )[0].reshape(-1)
    sound = resample(0.7 * made / max(1e-6, float(np.abs(made).max())), config["audio"]["sample_rate"], RATE)
    return np.pad(sound, RATE // 4).astype(np.float32)


@lru_cache(maxsize=1)
def _voice() -> tuple[Any, dict[str, Any]]:
    import onnxruntime

    folder = fetch("voice-joe")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(folder / "en_US-joe-medium.onnx"), options, providers=["CPUExecutionProvider"]
    )
    return session, json.loads((folder / "en_US-joe-medium.onnx.json").read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def _espeak() -> ctypes.CDLL:
    folder = fetch("espeak-ng")
    library = ctypes.CDLL(str(folder / "libespeak-ng.so.1.52.0"))
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
    assert library.espeak_Initialize(SYNCHRONOUS, 0, str(folder / "espeak-ng-data").encode(), 0) > 0
    return library


def sounds(text: str, language: str = "en-us") -> str:
    """IPA of ``text``, its punctuation kept: pauses."""
    assert _espeak().espeak_SetVoiceByName(language.encode()) == 0
    parts = re.split(r"([,.;:?!]+(?:\s|$))", text)
    return "".join(_ipa(part) if number % 2 == 0 else f"{part.strip()[0]} " for number, part in enumerate(parts))


def _ipa(text: str) -> str:
    rest = ctypes.c_char_p(text.encode())
    found = []
    while rest.value:
        found.append((_espeak().espeak_TextToPhonemes(ctypes.byref(rest), UTF8, IPA) or b"").decode())
    return " ".join(found).strip()
