"""How the ranks of a training end."""

import sys
import time

import pytest

from deemo_dist.launch import run_ranks

RANK = """
import os, signal, sys, time
import pipelines.train as train
from deemo_dist.config import load
from deemo_dist.errors import Interrupted

def chain(config, ranks, selection):
    ranks.sums([1.0])
    if ranks.rank == 0:
        time.sleep(4)  # its tracker closes
    raise Interrupted("stopped")

train._train_chain = chain
try:
    train.run_worker(load("demo", ["storage.cache=" + sys.argv[1]]))
except Interrupted as error:
    with open(sys.argv[1] + "/ends", "a") as file:
        file.write(f"{time.time()}\\n")
    os.kill(os.getpid(), signal.SIGTERM)  # SLURM, once the first one has gone
    sys.exit(error.exit_code)
"""


@pytest.mark.slow
def test_ranks_that_stop_leave_together(tmp_path) -> None:
    started = time.time()
    assert run_ranks([sys.executable, "-c", RANK, str(tmp_path)], ranks=2, timeout=120) == 75
    ends = [float(line) for line in (tmp_path / "ends").read_text().split()]
    assert len(ends) == 2 and min(ends) - started > 4
    assert max(ends) - min(ends) < 2
