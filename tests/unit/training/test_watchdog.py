import os
import signal
import subprocess
import sys

import pytest

from deemo_dist.training.signals import STOP_SIGNALS, listening
from deemo_dist.training.watchdog import Beat, slowest


def beat(step: int, position: int = 0, phase: str = "data") -> Beat:
    return Beat(count=1, progress=(step, position), phase=phase)


def test_a_silent_rank_is_named_before_a_slow_one():
    rank, why = slowest({0: beat(1), 1: beat(9), 2: beat(9)}, frozenset({2}))
    assert rank == 2 and "no sign of life" in why and "step 9" in why


def test_a_rank_never_heard_of_is_silent():
    assert slowest({0: beat(0), 1: None}, frozenset())[0] == 1


def test_the_rank_that_is_behind_is_named():
    rank, why = slowest({0: beat(4, 2, "micro-step 1"), 1: beat(4, 0), 2: beat(4, 2)}, frozenset())
    assert rank == 1 and "step 4 (data)" in why


def test_no_rank_is_accused_falsely_when_all_stand_together():
    assert "all ranks stand" in slowest({0: beat(4), 1: beat(4)}, frozenset())[1]


def test_a_lone_process_that_stands_still_ends_with_its_stacks():
    code = (
        "import time\n"
        "from deemo_dist.environ import placement\n"
        "from deemo_dist.training.watchdog import Progress, watching\n"
        "def stuck_here(): time.sleep(60)\n"
        "with watching(placement({}), Progress(), seconds=0.3):\n"
        "    stuck_here()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 70
    assert "no progress" in done.stderr and "stuck_here" in done.stderr


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_stop_signal_is_remembered_and_the_old_handler_comes_back(number):
    before = signal.getsignal(number)
    with listening() as stop:
        assert not stop
        os.kill(os.getpid(), number)
        assert stop and stop.reason == signal.Signals(number).name
    assert signal.getsignal(number) is before


def test_a_second_interrupt_ends_at_once():
    with pytest.raises(KeyboardInterrupt), listening():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_importing_the_room_loads_no_torch():
    code = "import sys, deemo_dist.training as t; t.StageSpec; assert not {'torch', 'deepspeed'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
