"""From the command to the first step: `deemo train`, and a bare DeepSpeed loop of the same model on as many ranks."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

from deemo_dist.config import load
from deemo_dist.records import Clip
from tests.made import NFBL, config_of, make

RUN = """\
bases: [models/nano, policies/standard, tasks/emotion]
name: {name}
keys: {{source: environment}}
storage: {{root: "{root}", cache: "{cache}"}}
data: {{name: demo, version: v1, shard_bytes: 3000}}
model: {{cue_keypoints: 5}}
engine: {{ranks: 2, threads: 1}}
tracking: {{uri: "sqlite:///{cache}/mlflow.db"}}
stages:
  bench: {{tasks: [emotion], packs_per_step: 2, max_tokens: 600, trains: {{"*": {{lr: 1.0e-3}}}}}}
"""
CLIPS = 64


def seconds_to_first(command: list[str], sign: str, env: dict[str, str]) -> float:
    """Seconds from the start of ``command`` until a line of it has ``sign``; then it is ended."""
    started = time.perf_counter()
    life = subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    assert life.stdout
    said = []
    try:
        for line in life.stdout:
            said.append(line)
            if sign in line:
                return time.perf_counter() - started
    finally:
        with suppress(ProcessLookupError):
            os.killpg(life.pid, 9)
        life.wait()
    raise RuntimeError(f"{' '.join(command)} ended before '{sign}':\n{''.join(said)[-2000:]}")


def starts(folder: Path) -> tuple[Callable[[], float], Callable[[], float]]:
    """Ours and the bare one's: starts a second. Every start is of a run that did not train before."""
    os.environ["DEEMO_ROOT_KEY"] = os.urandom(32).hex()
    env = dict(os.environ)
    make(config_of(folder), [clip(number) for number in range(CLIPS)])
    runs = count()

    def ours() -> float:
        name = f"bench{next(runs)}"
        run = folder / f"{name}.yaml"
        run.write_text(RUN.format(name=name, root=f"file://{folder / 'store'}", cache=folder / "cache"))
        load(run)
        return 1 / seconds_to_first([sys.executable, "-m", "pipelines.cli", "train", "-c", str(run)], "step 1/", env)

    def bare() -> float:
        return 1 / seconds_to_first([sys.executable, "-m", "tests.bench.training.bare"], "step 1/", env)

    return ours, bare


def clip(number: int) -> Clip:
    """One of a few people's clips."""
    person = f"person {number % 8}"
    return Clip(
        uri=f"file:///raw/{number}.mp4",
        subject=person,
        split="test" if number % 8 == 7 else "train",
        source="made",
        size_bytes=1000,
        labels={"emotion": ("positive", "negative")[number % 2]},
        transcript=f"words {number}",
        nfbl=NFBL,
    )
