"""What a run has committed so far, for a batch script: ``python -m deemo_dist.launch.progress -c RUN [KEY=VALUE]...``.

Prints one line such as ``align-video:200 instruct:50`` (the last committed step of each stage), or ``0``. A batch
script compares two of them: a job that was stopped comes back only if it got further.
"""

import re
import sys
from collections.abc import Iterable, Sequence

from deemo_dist.errors import DeemoError, LaunchError

_COMMIT = re.compile(r"runs/[^/]+/(?P<stage>.+)/commits/(?P<step>\d+)-[^/]+\.json$")


def summarize(keys: Iterable[str]) -> str:
    """The last committed step of each stage, from the storage keys of a run."""
    last: dict[str, int] = {}
    for match in filter(None, map(_COMMIT.search, keys)):
        last[match["stage"]] = max(int(match["step"]), last.get(match["stage"], 0))
    return " ".join(f"{stage}:{step}" for stage, step in sorted(last.items())) or "0"


def main(arguments: Sequence[str]) -> int:
    """Print the progress of a run; the exit code."""
    from deemo_dist.config import load
    from deemo_dist.storage import open_store

    try:
        if len(arguments) < 2 or arguments[0] != "-c":
            raise LaunchError("which run?", hint="python -m deemo_dist.launch.progress -c RUN [KEY=VALUE]...")
        config = load(arguments[1], tuple(arguments[2:]))
        print(summarize(open_store(config.storage).list(f"runs/{config.name}/")))
    except DeemoError as error:
        sys.stderr.write(f"deemo: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
