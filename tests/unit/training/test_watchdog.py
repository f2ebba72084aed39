import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as dist

from deemo_dist.environ import Placement
from deemo_dist.launch.process import free_port
from deemo_dist.training.beats import Beat, Herald, slowest
from deemo_dist.training.progress import Diligence, Progress
from deemo_dist.training.stacks import Stacks
from deemo_dist.training.watchdog import Watchdog


def beat(step: int, position: int = 0, phase: str = "data") -> Beat:
    return Beat(count=1, moves=1, place=(0, step, position), phase=phase)


def test_the_rank_that_is_silent_for_the_longest_is_named_before_a_slow_one():
    rank, why = slowest({0: beat(1), 1: beat(9), 2: beat(9)}, {1: 3.0, 2: 8.0})
    assert rank == 2 and "no sign of life for 8 s" in why and "step 9" in why


def test_the_rank_that_is_behind_is_named():
    rank, why = slowest({0: beat(4, 2, "micro-step 1"), 1: beat(4, 0), 2: beat(4, 2)}, {})
    assert rank == 1 and "step 4 (data)" in why


def test_no_rank_is_accused_falsely_when_all_stand_together():
    assert "all ranks stand" in slowest({0: beat(4), 1: beat(4)}, {})[1]


def test_a_rank_that_has_ended_its_watch_is_not_behind():
    gone = replace(beat(2), gone=True)
    assert slowest({0: gone, 1: beat(4), 2: beat(5)}, {})[0] == 1


def test_chapters_order_what_is_no_step():
    progress = Progress()
    progress.at(7, 3, "update")
    before = progress.place
    progress.during("checkpoint")
    assert progress.place > before and not progress.in_step
    before = progress.place
    progress.on()
    assert progress.place > before


def test_work_counts_as_progress_outside_of_steps_alone():
    progress = Progress()
    for busy, counts in ((lambda: progress.during("building"), 1), (lambda: progress.at(0, 0, "data"), 0)):
        busy()
        diligence, moves = Diligence(progress, seconds=1.0, watch=lambda: 0.0), progress.moves
        diligence.look()
        assert progress.moves == moves
        spend()
        diligence.look()
        assert progress.moves == moves + counts


def test_waiting_and_watching_are_no_work():
    """A main thread that polls, or spins as a wait for a GPU does, does not keep a hung job alive."""
    progress = Progress()
    progress.during("checkpoint")
    began = time.process_time()
    diligence, moves = Diligence(progress, seconds=1.0, watch=lambda: time.process_time() - began), progress.moves
    spend()
    diligence.look()
    assert progress.moves == moves
    diligence = Diligence(progress, seconds=1.0, watch=lambda: 0.0)
    with progress.waits():
        spend()
        diligence.look()
        assert progress.moves == moves
        writer = threading.Thread(target=spend)
        writer.start()
        writer.join()
        diligence.look()
    assert progress.moves == moves + 1 and not progress.waiting


def spend() -> None:
    """A tenth of a second of a processor."""
    until = time.thread_time() + 0.1
    while time.thread_time() < until:
        pass


class Counting:
    """A rendezvous store of one process that counts what is asked of it."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.requests = 0

    def set(self, key: str, value: str) -> None:
        self.requests += 1
        self.kept[key] = value.encode()

    def get(self, key: str) -> bytes:
        self.requests += 1
        return self.kept[key]

    def check(self, keys: list[str]) -> bool:
        self.requests += 1
        return all(key in self.kept for key in keys)

    def multi_get(self, keys: list[str]) -> list[bytes]:
        self.requests += 1
        return [self.kept[key] for key in keys]


def heralds(world: int) -> list[Herald]:
    return [Herald(rank, world, Progress(), quiet=2.0) for rank in range(world)]


def test_beats_cost_a_few_requests_a_rank_however_many_there_are():
    for world in (4, 512):
        store, voices = Counting(), heralds(world)
        for _ in range(2):  # the first round is for those who were not there yet
            for voice in reversed(voices):
                voice.speak(store)
        before = store.requests
        for voice in reversed(voices):
            voice.speak(store)
        assert store.requests - before <= 3 * world
        assert all(voice.verdict is not None for voice in voices)


def test_every_rank_hears_who_is_behind_and_a_goodbye_is_no_silence():
    store, voices = Counting(), heralds(3)
    for rank, voice in enumerate(voices):
        voice.progress.at(5, 0 if rank == 2 else 3, "data")
    for _ in range(2):
        for voice in reversed(voices):
            voice.speak(store)
    assert [voice.verdict.rank for voice in voices] == [2, 2, 2]
    voices[2].speak(store, last=True)
    voices[0].spoke[2] = voices[0].moved[2] = -1e9
    voices[0].speak(store)
    assert voices[0].verdict.rank != 2 and voices[0].verdict.silence < 60
    voices[0].spoke[1] -= 90
    verdict = voices[0]._judge(over=False)
    assert verdict.rank == 1 and verdict.silence >= 90 and "no sign of life" in verdict.why


@pytest.mark.slow
def test_a_rank_that_cannot_connect_at_first_is_heard_later(tmp_path: Path):
    """The store comes up a second after the watch began."""
    port = free_port()
    places = [
        Placement(rank=rank, world=2, local_rank=rank, launcher="local", master_addr="127.0.0.1", master_port=port)
        for rank in range(2)
    ]
    late = Watchdog(places[1], Progress(), Stacks(tmp_path, 1), seconds=10)
    late.voice.start()
    late.voice.join(1.0)
    master = dist.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=5))
    other = Herald(0, 2, Progress(), quiet=2.0)
    wait = threading.Event()
    for _ in range(150):
        other.speak(master)
        if other.beats[1] is not None and late.herald.verdict is not None:
            break
        wait.wait(0.1)
    assert other.beats[1] is not None and late.herald.verdict is not None
    late.ended.set()
    late.voice.join(10)
    other.speak(master)
    assert other.beats[1].gone
    late.stacks.close()


@pytest.mark.slow
def test_a_lone_process_that_stands_still_ends_with_its_stacks(tmp_path: Path):
    code = (
        "import time, pathlib\n"
        "from deemo_dist.environ import placement\n"
        "from deemo_dist.training.progress import Progress\n"
        "from deemo_dist.training.watchdog import watching\n"
        "def stuck_here(): time.sleep(60)\n"
        f"with watching(placement({{}}), Progress(), seconds=0.3, folder=pathlib.Path({str(tmp_path)!r})):\n"
        "    stuck_here()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 70
    assert "no progress" in done.stderr and "stuck_here" in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"watchdog: these stacks are in {tmp_path}/rank-00000.txt")
    assert "stuck_here" in (tmp_path / "rank-00000.txt").read_text()


def test_stacks_are_written_when_a_launcher_asks_and_nothing_is_left_otherwise(tmp_path: Path):
    stacks = Stacks(tmp_path, 3)
    stacks.close()
    assert list(tmp_path.iterdir()) == []
    stacks = Stacks(tmp_path, 3)
    os.kill(os.getpid(), signal.SIGQUIT)
    stacks.close()
    assert "test_stacks_are_written" in (tmp_path / "rank-00003.txt").read_text()


def test_of_two_processes_with_one_place_neither_minds_that_the_other_has_tidied_up(tmp_path: Path):
    first, second = Stacks(tmp_path, 0), Stacks(tmp_path, 0)
    first.close()
    second.close()
    assert list(tmp_path.iterdir()) == []


def test_importing_the_room_loads_no_torch():
    code = "import sys, deemo_dist.training as t; t.StageSpec; assert not {'torch', 'deepspeed'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_no_patience_is_no_watch(seconds):
    code = (
        "import threading\n"
        "from deemo_dist.environ import placement\n"
        "from deemo_dist.training.progress import Progress\n"
        "from deemo_dist.training.watchdog import watching\n"
        f"with watching(placement({{}}), Progress(), seconds={seconds}):\n"
        "    assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
