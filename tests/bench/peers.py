"""Peers that the project does not depend on: pinned in ``peers.txt``, put once into ``build/peers``, run beside us.

A bench asks for :func:`python` and runs a script with it, or has it (or a process of our own) answer by :func:`asked`.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PINS = Path(__file__).with_name("peers.txt")
FOLDER = Path("build/peers")


def python() -> Path:
    """The peers' interpreter; the environment is made, or made anew, where it is not that of the pins."""
    binary = FOLDER.resolve() / "bin" / "python"
    stamp = FOLDER / ".pins"
    wanted = hashlib.sha256(PINS.read_bytes()).hexdigest()
    FOLDER.parent.mkdir(exist_ok=True)
    with FOLDER.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two benches at once install once
        if not (binary.exists() and stamp.exists() and stamp.read_text() == wanted):
            _install(binary)
            stamp.write_text(wanted)
    return binary


@contextmanager
def asked(command: Sequence[str | Path]) -> Iterator[Callable[..., Any]]:
    """Run ``command`` for as long as the context lasts; each call says a word to it and asks for one more answer.

    It answers every line of its input with a line of JSON. A call raises where it ended.
    """
    with tempfile.TemporaryFile("w+") as said:
        life = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True)
        assert life.stdin and life.stdout
        source, sink = life.stdin, life.stdout

        def ask(word: str = "next") -> Any:
            try:
                source.write(f"{word}\n")
                source.flush()
                return json.loads(sink.readline())
            except (OSError, ValueError):
                said.seek(0)
                told = said.read()[-2000:]
                raise RuntimeError(f"{' '.join(map(str, command))} ended:\n{told}") from None

        try:
            yield ask
        finally:
            source.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                life.wait(5)
            life.kill()
            life.wait()


def _install(binary: Path) -> None:
    """A virtual environment that sees our own packages too, with the pins on top."""
    sys.stderr.write("bench: installing the peers into build/peers\n")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(FOLDER)], check=True)
    site = next((FOLDER / "lib").glob("python3*")) / "site-packages"
    (site / "ours.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    source = {"UV_FIND_LINKS": os.environ["PIP_FIND_LINKS"]} if "PIP_FIND_LINKS" in os.environ else {}
    uv = Path(sys.executable).parent / "uv"
    command = [str(uv), "pip", "install", "--quiet", "--no-deps", "--python", str(binary), "--requirement", str(PINS)]
    subprocess.run(command, check=True, env={**os.environ, **source})
