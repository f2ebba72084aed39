"""Several processes of one run: killed, restarted, two at once; and a server that takes calls and never answers."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from deemo_dist.config import TrackingConfig
from deemo_dist.errors import TrackingError
from deemo_dist.tracking import Tracker, check, pending
from tests.unit.tracking.conftest import Looker

pytestmark = pytest.mark.slow

LIFE = """
import sys, time
from pathlib import Path
from deemo_dist.config import TrackingConfig
from deemo_dist.tracking import Tracker

folder, stage, first, last = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
places = {"spool_dir": folder / "spool", "folder": folder}
with Tracker.open(TrackingConfig(), **places, run_name="lives", patience=60) as tracker:
    run = tracker.stage(stage)
    print("ready", flush=True)
    for step in range(first, last):
        run.log_metrics({"loss": float(step)}, step=step)
        print(step, flush=True)
        time.sleep(0.005)
"""


def _life(folder, stage, first, last) -> subprocess.Popen:
    command = [sys.executable, "-c", LIFE, str(folder), stage, str(first), str(last)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_process_killed_and_started_again_leaves_one_run_with_every_step(tmp_path):
    first = _life(tmp_path, "tune", 0, 10_000)
    reached = -1
    for line in first.stdout:
        reached = int(line) if line.strip().isdigit() else reached
        if reached >= 150:
            os.kill(first.pid, signal.SIGKILL)
            break
    first.wait()
    look = Looker(f"sqlite:///{tmp_path}/mlflow.db")
    assert look.runs("lives")["tune"].info.status == "RUNNING"
    second = _life(tmp_path, "tune", 100, 300)  # the checkpoint was at 100
    second.communicate(timeout=120)
    assert second.returncode == 0
    run = look.runs("lives")["tune"]
    assert look.steps(run.info.run_id, "loss") == list(range(300))
    assert run.info.status == "FINISHED" and look.count("lives") == 2


def test_two_processes_share_a_spool(tmp_path):
    lives = [_life(tmp_path, stage, 0, 100) for stage in ("left", "right")]
    for life in lives:
        life.communicate(timeout=180)
        assert life.returncode == 0
    assert pending(tmp_path / "spool") == 0
    look = Looker(f"sqlite:///{tmp_path}/mlflow.db")
    assert look.count("lives") == 3
    for stage in ("left", "right"):
        assert look.steps(look.runs("lives")[stage].info.run_id, "loss") == list(range(100))


@pytest.fixture
def silent():
    """A port that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        kept = []
        threading.Thread(target=lambda: _accept(listener, kept), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for connection in kept:
            connection.close()


def _accept(listener, kept) -> None:
    while True:
        try:
            kept.append(listener.accept()[0])
        except OSError:
            return


def test_a_server_that_never_answers_delays_nothing(silent, tmp_path):
    config = TrackingConfig(uri=silent)
    started = time.monotonic()
    with pytest.raises(TrackingError, match="no MLflow server answers"):
        check(config, tmp_path)
    assert time.monotonic() - started < 8
    tracker = Tracker.open(config, spool_dir=tmp_path / "spool", folder=tmp_path, run_name="mute", patience=1.0)
    started = time.monotonic()
    run = tracker.stage("tune")
    assert time.monotonic() - started < 3
    started = time.monotonic()
    for step in range(1000):
        run.log_metrics({"loss": 1.0}, step=step)
    assert time.monotonic() - started < 2
    started = time.monotonic()
    assert tracker.close(2.0) == 1001
    assert time.monotonic() - started < 8
