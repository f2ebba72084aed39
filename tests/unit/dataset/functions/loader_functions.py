"""What loader workers do in tests; in a module that a spawned process can import."""

import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deemo_dist.errors import MediaError
from deemo_dist.records import LoadedExample


class Packer:
    """A processor that shows what it was given."""

    def pack(self, examples: Sequence[LoadedExample]) -> dict[str, Any]:
        return {"shown": [(e.example.key, e.example.modalities, e.example.turns) for e in examples]}

    def null_pack(self) -> dict[str, Any]:
        return {"shown": []}


@dataclass
class Echo:
    """Gives back what it is given, with its process; does odd things on odd words."""

    folder: Path

    def read(self, task: Any) -> Any:
        return task

    def make(self, task: Any, raw: Any) -> Any:
        if task == "die once" and not (self.folder / "died").exists():
            (self.folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if task == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if task == "leave":
            sys.exit(3)
        if task == "media":
            raise MediaError("no picture", reason="broken")
        if task == "unreadable":
            return Unreadable()
        if task == "unsendable":
            return lambda: None
        if task == "odd error":
            raise OddError(1, 2)
        if task == "sleep":
            (self.folder / "asleep").touch()
            time.sleep(60)
        return raw, os.getpid()


class Unreadable:
    """What can be sent but not rebuilt."""

    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("not a number",)


class OddError(Exception):
    """An exception that cannot be rebuilt from its pickle."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class Tensors:
    """Batches of arrays and tensors of many kinds."""

    def read(self, task: Any) -> Any:
        return None

    def make(self, task: Any, raw: Any) -> Any:
        return tensors(task)


def tensors(seed: int) -> dict[str, Any]:
    """Tensors of many types and shapes, fixed by ``seed``."""
    import torch

    made = torch.Generator().manual_seed(seed)
    wide = torch.rand(3, 5, 7, generator=made)
    return {
        "float": wide,
        "turned": wide.transpose(0, 2),
        "half": wide.to(torch.bfloat16),
        "whole": torch.arange(10),
        "truth": wide > 0.5,
        "empty": torch.empty(0, 4),
        "scalar": torch.tensor(seed),
        "array": np.arange(6).reshape(2, 3),
        "words": ["a", 1, None],
    }
