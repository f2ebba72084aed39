"""What the bytes of a dataset depend on is named, and nothing that the de-identification loads is left out."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from deemo_dist import deid
from deemo_dist.deid.toolchain import WEIGHTS, toolchain

ROOM = Path(deid.__file__).parent
LOADERS = {"fetch", "tflite", "onnx"}
ATTACKERS = {"audit/identity.py", "audit/voices.py"}
"""Of the audit of a whole dataset: they change no byte of it."""


def loaded(path: Path) -> Iterator[str]:
    """The weights that a module loads by name; ``?`` for one that is no literal."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in LOADERS:
                name = node.args[0]
                yield str(name.value) if isinstance(name, ast.Constant) else "?"


def test_the_toolchain_names_every_weight_that_the_de_identification_loads() -> None:
    found = {str(path.relative_to(ROOM)): set(loaded(path)) for path in ROOM.rglob("*.py")}
    assert found.pop("runtime.py") == {"?"}  # the loaders themselves
    assert {place for place in ATTACKERS if found.pop(place)} == ATTACKERS
    assert set.union(*found.values()) == set(WEIGHTS)
    assert len(WEIGHTS) == len(set(WEIGHTS))


def test_the_attackers_of_a_dataset_are_no_part_of_the_de_identification() -> None:
    modules = [f"deemo_dist.deid.{place.removesuffix('.py').replace('/', '.')}" for place in sorted(ATTACKERS)]
    code = f"import sys, deemo_dist.deid; print([name for name in {modules} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_toolchain_names_versions_threads_and_weights() -> None:
    chain = toolchain()
    assert chain["threads"] == 1
    assert set(chain["weights"]) == set(WEIGHTS)  # type: ignore[call-overload]
    assert "absent" not in chain["packages"].values()  # type: ignore[attr-defined]
