"""`python -m tests.bench NAME`: run `tests/bench/NAME.py`, or all of them."""

import importlib
import sys
from pathlib import Path

from tests.bench.harness import Row, Work, compare, show, write

NOT_BENCHES = {"__init__", "__main__", "harness", "peers"}


def main(name: str) -> int:
    """Run one bench or all; each module offers ``works()``. Returns the exit code: 1 where a goal does not hold, 2 for
    a name that is none."""
    known = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in NOT_BENCHES)
    if name not in (*known, "all"):
        sys.stderr.write(f"there is no bench '{name}'; one of: {', '.join(known)}, all\n")
        return 2
    missed: list[str] = []
    for chosen in known if name == "all" else [name]:
        with importlib.import_module(f"tests.bench.{chosen}").works() as works:
            rows = _compared(chosen, works)
        write(chosen, rows)
        missed += [f"{chosen}: {row.work} beside {row.peer}" for row in rows if not row.holds]
    sys.stderr.writelines(f"goal not reached: {line}\n" for line in missed)
    return 1 if missed else 0


def _compared(name: str, works: list[Work]) -> list[Row]:
    """The comparisons, each shown as soon as it is made."""
    print(f"bench {name}: {len(works)} comparisons; medians, and the interval of the pairs\n", flush=True)
    rows = []
    for work in works:
        rows.append(compare(work))
        show(rows[-1])
    return rows


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "all"))
