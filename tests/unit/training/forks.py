"""Ranks that are forked from a process which has imported what they need: imports take longer than most tests train.

What a rank is stays the same: a process of its own, with its own environment, arguments, output and end. As a program
this is that process: it reads a JSON request a line, and answers each with a line.
"""

import gc
import json
import os
import runpy
import select
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from deemo_dist.launch.guard import bind_to_parent
from deemo_dist.launch.process import guarded

ROOT = Path(__file__).parents[3]
START_SECONDS = 120


class ForkServer:
    """Forks ``program ARGUMENTS`` processes. They end when it does, and it ends when this process does, however."""

    def __init__(self) -> None:
        paths = filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)])
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
        self._process = subprocess.Popen(
            guarded([sys.executable, __file__]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )
        assert self._answer(START_SECONDS) == {"threads": 1}, "a process with several threads is not to be forked"

    def fork(self, command: list[str], env: dict[str, str], output: Path) -> int:
        """Start a process that writes to ``output``; its number."""
        return int(self._ask({"argv": command, "env": env, "cwd": str(Path.cwd()), "output": str(output)}, 60)["pid"])

    def wait(self, pid: int, seconds: float) -> int:
        """How a process ended, as ``subprocess`` says it. Raises ``TimeoutError`` when it does not."""
        return int(self._ask({"wait": pid}, seconds)["code"])

    def _ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer(seconds)

    def _answer(self, seconds: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            fork_server.cache_clear()
            self._process.kill()
            raise TimeoutError(f"no answer within {seconds:g} s")
        return dict(json.loads(self._process.stdout.readline()))


@cache
def fork_server() -> ForkServer:
    """This process's server, started when it is first asked for."""
    return ForkServer()


def serve() -> dict[str, Any] | None:
    """Answer requests until there are no more: None. In a process that was forked: what it is to do."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what an import prints is no answer

    def answer(value: dict[str, int]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    import_all()
    gc.collect()
    gc.freeze()
    answer({"threads": len(threads())})
    server = os.getpid()
    while line := sys.stdin.readline():
        request = json.loads(line)
        if "wait" in request:
            answer({"code": os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])})
        elif pid := os.fork():
            answer({"pid": pid})
        else:
            answers.close()
            return {**request, "parent": server}
    return None


def threads() -> list[str]:
    """The names of this process's threads, without that of Arrow's jemalloc, which bears a fork."""
    names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    return [name for name in names if name != "jemalloc_bg_thd"]


def import_all() -> None:
    """What a rank imports, the model's and DeepSpeed's modules foremost."""
    import deepspeed  # noqa: F401
    import transformers  # noqa: F401

    import deemo_dist.training  # noqa: F401
    from tests.unit.training import real  # noqa: F401


def become(request: dict[str, Any]) -> None:
    """Run the program that was asked for, in this process."""
    bind_to_parent(request["parent"], signal.SIGKILL)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for new, old in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(new, old)
    sys.argv = request["argv"]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__" and (asked := serve()) is not None:
    become(asked)
