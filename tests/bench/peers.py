"""Peers that the project does not depend on: pinned in ``peers.txt``, put once into ``build/peers``, run beside us.

A bench asks for :func:`python` and runs a script with it, or calls :func:`ask`.
"""

import hashlib
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

PINS = Path(__file__).with_name("peers.txt")
FOLDER = Path("build/peers")


def python() -> Path:
    """The peers' interpreter; the environment is made, or made anew, where it is not that of the pins."""
    binary = FOLDER.resolve() / "bin" / "python"
    stamp = FOLDER / ".pins"
    wanted = hashlib.sha256(PINS.read_bytes()).hexdigest()
    if not (binary.exists() and stamp.exists() and stamp.read_text() == wanted):
        _install(binary)
        stamp.write_text(wanted)
    return binary


def ask(script: Path, *arguments: str, seconds: float = 300.0) -> Any:
    """Run ``script`` among the peers and return the JSON on the last line it prints. Raises where it fails."""
    command = [str(python()), str(script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode:
        raise RuntimeError(f"{script.name} {' '.join(arguments)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _install(binary: Path) -> None:
    """A virtual environment that sees our own packages too, with the pins on top."""
    sys.stderr.write("bench: installing the peers into build/peers\n")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--clear", str(FOLDER)], check=True)
    site = next((FOLDER / "lib").glob("python3*")) / "site-packages"
    (site / "ours.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    source = {"UV_FIND_LINKS": os.environ["PIP_FIND_LINKS"]} if "PIP_FIND_LINKS" in os.environ else {}
    uv = Path(sys.executable).parent / "uv"
    command = [str(uv), "pip", "install", "--quiet", "--no-deps", "--python", str(binary), "--requirement", str(PINS)]
    subprocess.run(command, check=True, env={**os.environ, **source})
