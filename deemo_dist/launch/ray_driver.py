"""Training on Ray, the job's own process: it places one rank a bundle, watches over them, and exits as they do.

``python -m deemo_dist.launch.ray_driver --ranks 2 --cpus 1 ... -- COMMAND...``. A node that is lost takes the ranks
down; they are placed anew, a bounded number of times, and go on from their last checkpoint. Exit code 75: stopped on
request. ``--progress``: a command that prints the last committed step; ``--failed``: one to be run after a failure.
"""

import argparse
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from deemo_dist.console import logger, setup_logging
from deemo_dist.errors import DeemoError, LaunchError
from deemo_dist.launch.process import STACKS_SECONDS, how_it_ended
from deemo_dist.launch.ray_answers import NodeLostError, answer, join_cluster
from deemo_dist.launch.ray_ranks import News, Place, RankActor
from deemo_dist.launch.verdict import INTERRUPTED, Verdict, named

POLL_SECONDS = 0.5
COMMAND_SECONDS = 60.0
MAX_IDLE_LIVES = 2
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_LOST = -signal.SIGKILL


@dataclass(frozen=True, kw_only=True)
class Room:
    """What each rank gets, how many there are, and how long to wait until the cluster has so much free."""

    ranks: int
    cpus: float
    gpus: float
    memory_mb: float
    threads: int
    wait: float

    def bundle(self) -> dict[str, float]:
        """The resources of one rank, by Ray's names."""
        asked = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory_mb * 2**20}
        return {name: amount for name, amount in asked.items() if amount}


class RayRanks:
    """One life of the ranks: ``start``, ``watch``, ``end``."""

    def __init__(self, room: Room) -> None:
        from ray.util.placement_group import placement_group

        self.room = room
        self.verdict = Verdict(room.ranks)
        self.actors: list[Any] = []
        self.places: list[Place] = []
        self.group = placement_group([room.bundle()] * room.ranks, strategy="SPREAD")

    def _place(self) -> None:
        """Wait for room, put one actor into each bundle, and number them as ranks node by node."""
        import ray

        room = self.room
        if not self.group.wait(room.wait):
            raise LaunchError(
                f"the cluster had no room for {room.ranks} x {room.bundle()} within {room.wait:g} s",
                hint=f"it has {_shown(ray.cluster_resources())} in all; ask for less by launch.*",
            )
        actors = [self._actor(bundle) for bundle in range(room.ranks)]
        places = [self._ask(actor.place.remote()) for actor in actors]
        order = by_node(places)
        self.actors, self.places = [actors[bundle] for bundle in order], [places[bundle] for bundle in order]

    def _actor(self, bundle: int) -> Any:
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        strategy = PlacementGroupSchedulingStrategy(placement_group=self.group, placement_group_bundle_index=bundle)
        options = {
            "num_cpus": self.room.cpus,
            "num_gpus": self.room.gpus,
            "memory": self.room.memory_mb * 2**20 or None,
            "scheduling_strategy": strategy,
            "max_restarts": 0,
        }
        return ray.remote(RankActor).options(**options).remote()

    def start(self, command: Sequence[str]) -> None:
        """Place and start every rank; they meet at rank 0's node.

        Raises ``LaunchError`` when there is no room, or a node has not what a rank is started with.
        """
        self._place()
        for rank, actor in enumerate(self.actors):
            variables = rank_variables(rank, self.places, threads=self.room.threads, gpus=self.room.gpus)
            self._ask(actor.start.remote(list(command), variables, str(Path.cwd())), rank=rank)
        logger.info("%d ranks on %d nodes", self.room.ranks, len({place.node for place in self.places}))

    def watch(self, pending: Callable[[], list[int]]) -> int:
        """Until every rank has ended: pass on signals and rank 0's output. The exit code of them all.

        Raises ``NodeLostError`` when a rank ends with its node or actor, and not by itself.
        """
        while not self.verdict.done:
            for number in pending():
                self._send(number)
            for rank in self.verdict.left:
                self._hear(rank)
            if self.verdict.late:
                self._kill_the_rest()
            time.sleep(POLL_SECONDS)
        return self.verdict.code()

    def _hear(self, rank: int) -> None:
        news: News = self._ask(self.actors[rank].news.remote(), rank=rank)
        if rank == 0 and news.lines:
            sys.stdout.write("\n".join(news.lines) + "\n")
            sys.stdout.flush()
        if news.code is None:
            return
        after = self.verdict.failed is not None
        if self.verdict.end(rank, news.code):
            self._report(rank, how_it_ended(news.code))
            self._send(signal.SIGTERM)
        elif after and self.verdict.worth_telling(news.code):
            self._report_briefly(rank, how_it_ended(news.code))

    def _report(self, rank: int, end: str) -> None:
        where = self.places[rank].host
        logger.error("rank %d of %d on %s %s; the others are ended", rank, self.room.ranks, where, end)
        for line in self._ask(self.actors[rank].tail.remote(), rank=rank) if rank else []:
            logger.error("  rank %d | %s", rank, line)

    def _report_briefly(self, rank: int, end: str) -> None:
        """One that failed after another: its end and its last word, which names the file of its stacks, if any."""
        where, said = self.places[rank].host, self._ask(self.actors[rank].tail.remote(), rank=rank)[-1:]
        logger.error("rank %d of %d on %s %s%s", rank, self.room.ranks, where, end, "".join(f": {s}" for s in said))

    def _kill_the_rest(self) -> None:
        if self.verdict.failed is None:
            left = named(self.verdict.left, self.room.ranks)
            logger.error("%s had not stopped %g s after the first: killed", left, self.verdict.stop_grace)
        self.verdict.deadline = None
        for rank in self.verdict.left:
            self.actors[rank].ask_for_stacks.remote()
        time.sleep(STACKS_SECONDS)
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        for rank in self.verdict.left:
            self.actors[rank].send.remote(int(number))

    def _ask(self, reference: Any, *, rank: int | None = None) -> Any:
        who = "a rank" if rank is None else f"rank {rank} of {self.room.ranks} on {self.places[rank].host}"
        return answer(reference, who=who)

    def end(self) -> None:
        """Kill what is left and give the room back."""
        import ray

        for actor in self.actors:
            ray.wait([actor.end.remote()], timeout=5)
            ray.kill(actor)
        ray.util.remove_placement_group(self.group)


def by_node(places: Sequence[Place]) -> list[int]:
    """The places as ranks are numbered: those of a node one after another, in the order of its GPUs. Neighbours talk
    the most (rings of collectives, groups of ZeRO++), and the way between nodes is the slow one."""
    return sorted(range(len(places)), key=lambda n: (places[n].node, len(places[n].gpu), places[n].gpu, n))


def rank_variables(rank: int, places: Sequence[Place], *, threads: int, gpus: float) -> dict[str, str]:
    """Torchrun's variables for a rank. Ray shows a rank only its own GPUs, so there the local rank is 0."""
    same = [other for other in range(len(places)) if places[other].node == places[rank].node]
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(len(places)),
        "LOCAL_RANK": "0" if gpus else str(same.index(rank)),
        "MASTER_ADDR": places[0].host,
        "MASTER_PORT": str(places[0].port),
        "OMP_NUM_THREADS": str(threads),
        "DEEMO_LAUNCHER": "ray",
        "PYTHONUNBUFFERED": "1",
    }


def run(room: Room, command: Sequence[str], *, restarts: int, committed: Callable[[], str]) -> int:
    """Run the ranks to their end. When a node is lost they are placed anew, at most ``restarts`` times, unless two
    lives in a row have committed nothing (by ``committed``, empty where it cannot say) or a stop was asked for.

    Raises ``LaunchError``: no Ray here, no room, or a rank that cannot be started where it was placed.
    """
    join_cluster()
    heard = Heard()
    before, idle = committed(), 0
    for life in range(restarts + 1):
        end = _life(room, command, heard.take)
        if isinstance(end, int):
            return end
        after = committed()
        got_on = after not in ("", before)
        before, idle = after or before, 0 if got_on else idle + 1
        if heard.stop and got_on:
            logger.error("%s, after it was told to stop: what is committed stays", end.message)
            return INTERRUPTED
        if heard.stop or life == restarts or idle == MAX_IDLE_LIVES:
            raise end
        times = f"{life + 1} of at most {restarts} times"
        logger.error("%s; the ranks are placed anew (%s). %s", end.message, times, end.hint or "")
    raise AssertionError("the last life returns or raises")


def _life(room: Room, command: Sequence[str], pending: Callable[[], list[int]]) -> "int | NodeLostError":
    """One life of the ranks, and the room given back: their exit code, or how a node was lost."""
    ranks = RayRanks(room)
    try:
        ranks.start(command)
        return ranks.watch(pending)
    except NodeLostError as error:
        return error
    finally:
        ranks.end()


class Heard:
    """Collects signals for the ranks (to be made after ``ray.init``, which sets handlers of its own); ``stop``: whether
    there ever was one."""

    def __init__(self) -> None:
        self.stop = False
        self._waiting: list[int] = []
        for number in _FORWARDED:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.stop = True
        self._waiting.append(number)

    def take(self) -> list[int]:
        """Those that came since the last call."""
        taken, self._waiting[:] = list(self._waiting), []
        return taken


def _said_by(command: Sequence[str]) -> str:
    """The last line that a command prints; empty for none, or one that fails or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return (done.stdout.strip().splitlines() or [""])[-1]


def _shown(resources: dict[str, float]) -> str:
    kept = {name: amount for name, amount in resources.items() if name in ("CPU", "GPU", "memory")}
    return ", ".join(f"{amount:g} {name}" for name, amount in sorted(kept.items()))


def main(arguments: Sequence[str]) -> int:
    """Parse the command line; the exit code."""
    parser = argparse.ArgumentParser(prog="deemo_dist.launch.ray_driver", description=__doc__)
    for name, kind in (("ranks", int), ("threads", int), ("restarts", int)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    for name in ("progress", "failed"):
        parser.add_argument(f"--{name}", type=shlex.split, default=[])
    for name in ("cpus", "gpus", "memory-mb", "wait"):
        parser.add_argument(f"--{name}", type=float, required=True)
    parser.add_argument("command", nargs="+")
    asked = parser.parse_args(arguments)
    setup_logging()
    room = Room(
        ranks=asked.ranks,
        cpus=asked.cpus,
        gpus=asked.gpus,
        memory_mb=asked.memory_mb,
        threads=asked.threads,
        wait=asked.wait,
    )
    code = _ended(room, asked.command, restarts=asked.restarts, committed=lambda: _said_by(asked.progress))
    if code not in (0, INTERRUPTED) and asked.failed:
        _said_by(asked.failed)
    return code


def _ended(room: Room, command: Sequence[str], *, restarts: int, committed: Callable[[], str]) -> int:
    """``run``, its error said."""
    try:
        return run(room, command, restarts=restarts, committed=committed)
    except DeemoError as error:
        sys.stderr.write(f"deemo: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
