"""Training beside its peers: the loop, packs, checkpoints, and how soon it starts."""

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench import peers
from tests.bench.harness import Work
from tests.bench.training.padded import RUN, SAMPLE_RUN, rates
from tests.bench.training.starting import starts

LOOP, PACKED, STALL, SLOWER, START = 1 / 1.02, 1.3, 10.0, 0.9, 0.4


@contextmanager
def works() -> Iterator[list[Work]]:
    """The comparisons of this bench."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        yield [loop(stack), *packs(), *saving(stack), start(Path(name))]


def loop(stack: ExitStack) -> Work:
    """The same steps by our loop and by the least there is."""
    ask = stack.enter_context(peers.asked([sys.executable, "-m", "tests.bench.training.loops"]))
    return Work(
        work="train a stage, 2 ZeRO-3 ranks",
        peer="bare DeepSpeed loop",
        unit="steps/s",
        goal=LOOP,
        ours=lambda: float(ask("ours")),
        theirs=lambda: float(ask("bare")),
    )


def packs() -> Iterator[Work]:
    """The same examples packed and padded: as the sample data's stage shows them, and all nearly of one length."""
    for run, what in ((SAMPLE_RUN, "the sample data, some modalities left out"), (RUN, "equal lengths")):
        ours, theirs = rates(run)
        yield Work(
            work=f"forward and backward of packs, SmolLM2's size: {what}",
            peer="padded batches of sorted lengths (transformers)",
            unit="useful tokens/s",
            goal=PACKED,
            ours=ours,
            theirs=theirs,
        )


def saving(stack: ExitStack) -> Iterator[Work]:
    """Checkpoints of 1 GB: what one keeps the loop for, and what all of them do to a stage."""
    ask = stack.enter_context(peers.asked([sys.executable, "-m", "tests.bench.training.saving"]))
    series = Series(ask)
    yield Work(
        work="keep the loop for a checkpoint of 1 GB",
        peer="write, flush and commit it",
        unit="saves/s",
        goal=STALL,
        ours=series.of("stalled"),
        theirs=series.of("written"),
    )
    yield Work(
        work="steps with a checkpoint of 1 GB every 8",
        peer="without",
        unit="steps/s",
        goal=SLOWER,
        ours=series.of("saving"),
        theirs=series.of("alone"),
    )


def start(folder: Path) -> Work:
    """`deemo train` to its first step, all its checks, plans and tracking included."""
    ours, theirs = starts(folder)
    return Work(
        work="deemo train, from command to first step",
        peer="bare DeepSpeed script",
        unit="starts/s",
        goal=START,
        ours=ours,
        theirs=theirs,
    )


class Series:
    """Answers of several figures each, asked for once and read figure by figure."""

    def __init__(self, ask: Callable[[], Mapping[str, float]]) -> None:
        self.ask = ask
        self.answers: list[Mapping[str, float]] = []

    def of(self, name: str) -> Callable[[], float]:
        """A function that gives the figure ``name`` of one answer after the other."""
        places = iter(range(10**6))

        def figure() -> float:
            place = next(places)
            while len(self.answers) <= place:
                self.answers.append(self.ask())
            return self.answers[place][name]

        return figure
