"""Speech for attacks on voices: real, of the few speakers that a package ships, and of synthetic voices.

Real: Debian's pocketsphinx-testdata (BSD): a reader of LibriVox and a developer of CMU Sphinx.
Synthetic: Kokoro-82M, which tells its 28 English voices apart by style vectors; these come out of the npm package
kokoro-js. What is spoken is kept under ``build/speech``. Nobody's voice is committed.
"""

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from deemo_dist.console import progress
from deemo_dist.media import resample
from deemo_dist.weights import fetch
from tests.voices import sounds

RATE = 16_000
REAL = Path("/usr/share/pocketsphinx/test/data")
SPOKEN = Path("build/speech")
STYLES = "kokoro-js@1.2.1"
STYLES_SHA256 = "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860"
KOKORO_RATE = 24_000
READER, DEVELOPER = "librivox/*.wav", "cards/*.wav"
SENTENCES = (
    "The boat drifted past the old bridge.",
    "She put the letters in the drawer.",
    "Nobody wanted to talk about the score.",
    "Fresh bread was waiting in the kitchen.",
    "He could not find the car.",
    "The train was late again today.",
    "Two children were drawing a blue house.",
    "We should win the second set.",
    "The weather turned cold this week.",
    "A narrow path leads to the lake.",
    "Our neighbour plays the piano every evening.",
    "The crowd kept us going until midnight.",
    "Please leave the window open.",
    "He has to rest for three days.",
    "Most of the shops were closed.",
    "My coach never looked at the clock.",
    "They painted the whole room yellow.",
    "A loud noise woke everybody up.",
    "The oldest maps are in the basement.",
    "You have to believe in every ball.",
)


@dataclass(frozen=True)
class Utterance:
    """What ``speaker`` said: float32 [N] at 16 kHz, and the words, where they are known."""

    speaker: str
    number: int
    sound: np.ndarray
    words: str


def real() -> list[Utterance]:
    """The real speech; empty where the package is not installed (``cluster/local/install-system`` does)."""
    import soundfile

    found = []
    for speaker, pattern in (("reader", READER), ("developer", DEVELOPER)):
        files = sorted(REAL.glob(pattern))
        said = _transcripts(next(files[0].parent.glob("*transcription"))) if files else {}
        for number, path in enumerate(files):
            sound, rate = soundfile.read(path, dtype="float32")
            found.append(Utterance(speaker, number, resample(sound, rate), said[path.stem]))
    return found


def _transcripts(path: Path) -> dict[str, str]:
    """Words by file: lines ``<s> words </s> (file)``."""
    lines = (line.rsplit("(", 1) for line in path.read_text().splitlines() if "(" in line)
    return {name.strip(" )"): text.replace("<s>", "").replace("</s>", "").strip() for text, name in lines}


def synthetic(speakers: int = 22, utterances: int = 5) -> list[Utterance]:
    """So many short sentences by each of so many (of 28) English voices; empty where there is no npm to fetch by."""
    styles = dict(sorted(_styles().items())[:speakers])
    found = []
    with progress("synthetic speech", len(styles) * utterances, unit="sentences") as bar:
        for place, (name, style) in enumerate(styles.items()):
            for number in range(utterances):
                words = SENTENCES[(7 * place + number) % len(SENTENCES)]
                found.append(
                    Utterance(name, number, _kept(name, number, lambda w=words, s=style: _spoken(w, s)), words)
                )  # type: ignore[misc]
                bar.advance(1)
    return found


def in_turn(texts: Sequence[str]) -> list[np.ndarray]:
    """Each text by another of the 28 English voices, one after the other: float32 [N] at 16 kHz, a quarter of a second
    of silence on both sides; empty where there is no npm to fetch them by."""
    styles = sorted(_styles().items())
    found: list[np.ndarray] = []
    with progress("synthetic speech", len(texts) if styles else 0, unit="sentences") as bar:
        for number, text in enumerate(texts if styles else ()):
            name, style = styles[number % len(styles)]
            label = hashlib.sha256(text.encode()).hexdigest()[:16]
            sound = _kept(name, label, lambda text=text, style=style: _spoken(text, style))  # type: ignore[misc]
            found.append(np.pad(sound, RATE // 4))
            bar.advance(1)
    return found


def _kept(name: str, number: int | str, speak: Callable[[], np.ndarray]) -> np.ndarray:
    path = SPOKEN / f"{name}-{number}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, speak().astype(np.float16))
    return np.load(path).astype(np.float32)


def _spoken(words: str, style: np.ndarray) -> np.ndarray:
    session, table = _kokoro()
    ids = [0, *(table[sound] for sound in sounds(words) if sound in table), 0]
    inputs = {
        "tokens": np.array([ids], dtype=np.int64),
        "style": style[len(ids) - 2],
        "speed": np.ones(1, dtype=np.float32),
    }
    return resample(session.run(None, inputs)[0].reshape(-1).astype(np.float32), KOKORO_RATE, RATE)


@lru_cache(maxsize=1)
def _kokoro() -> tuple[Any, dict[str, int]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(fetch("kokoro")), options, providers=["CPUExecutionProvider"])
    return session, json.loads(fetch("kokoro-sounds").read_text())["vocab"]


def _styles() -> dict[str, np.ndarray]:
    """Style vectors [510, 1, 256] of American and British voices by name, fetched once and checked by digest."""
    kept = SPOKEN / "kokoro-js.tgz"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            try:
                subprocess.run(["npm", "pack", "--silent", STYLES], cwd=folder, check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError):
                return {}
            shutil.move(next(Path(folder).glob("*.tgz")), kept)
    data = kept.read_bytes()
    assert hashlib.sha256(data).hexdigest() == STYLES_SHA256, f"{kept} is not {STYLES}"
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        names = [name for name in archive.getnames() if name.endswith(".bin") and Path(name).name[0] in "ab"]
        files = {Path(name).stem: archive.extractfile(name) for name in names}
        return {
            name: np.frombuffer(file.read(), dtype=np.float32).reshape(-1, 1, 256)
            for name, file in files.items()
            if file
        }
