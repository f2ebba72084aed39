"""Two tiny programs that keep a launcher's processes from outliving it. Run by path, with the standard library alone.

``guard.py exec PARENT SIGNAL COMMAND...`` becomes COMMAND, which the kernel signals when PARENT dies (even by SIGKILL).
``guard.py reap`` reads process group ids from its standard input; when that closes without ``done``, it kills them:
that reaches the children of a rank too, which the kernel's signal does not.
"""

import contextlib
import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def bind_to_parent(parent: int, number: int) -> None:
    """Have the kernel send this process signal ``number`` when its parent ends; exit if it is already gone."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(128 + number)


def reap() -> None:
    """Collect group ids, one a line, until the input ends; then kill those groups unless ``done`` was said."""
    groups: list[int] = []
    for line in sys.stdin:
        if line.strip() == "done":
            return
        groups.append(int(line))
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


def main(arguments: list[str]) -> None:
    """Dispatch on the first word."""
    if arguments[0] == "reap":
        reap()
        return
    _, parent, number, *command = arguments
    bind_to_parent(int(parent), int(number))
    try:
        os.execvp(command[0], command)  # noqa: S606 - becoming the command is the point
    except OSError as error:
        sys.exit(f"{command[0]} cannot be started: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
