"""Several processes of one run: killed, restarted, two at once; and a server that takes calls and never answers."""

import json
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
from deemo_dist.storage.local import LocalStore
from deemo_dist.tracking import Depot, Tracker, check, pending, replay
from deemo_dist.tracking.reservations import reserve_in
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


LOST = """
import sys, time
from pathlib import Path
from deemo_dist.config import TrackingConfig
from deemo_dist.storage.local import LocalStore
from deemo_dist.tracking import Depot, Tracker, carriage
from deemo_dist.tracking.reservations import reserve_in

folder = Path(sys.argv[1])
carriage._TURN_SECONDS = 0.3
tracker = Tracker.open(
    TrackingConfig(uri="http://127.0.0.1:9"), spool_dir=folder / "a", folder=folder, run_name="lost", patience=0.1,
    reserve=lambda name, proposal: reserve_in(folder / "ids", name, proposal),
    depot=Depot(LocalStore(f"file://{folder}/store"), "runs/lost/spool"),
)
run = tracker.stage("tune")
for step in range(1_000_000):
    run.log_metrics({"loss": float(step)}, step=step, timestamp=1_700_000_000 + step)
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


def test_what_a_killed_process_left_in_the_store_is_sent_by_another_node(tmp_path):
    store = LocalStore(f"file://{tmp_path}/store")
    first = subprocess.Popen([sys.executable, "-c", LOST, str(tmp_path)])
    deadline = time.monotonic() + 60
    while _last_step(store) < 150 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    carried = _last_step(store)
    assert carried >= 150
    (tmp_path / "a").rename(tmp_path / "lost")  # the node is gone
    places = {"folder": tmp_path, "reserve": lambda name, proposal: reserve_in(tmp_path / "ids", name, proposal)}
    places |= {"depot": Depot(store, "runs/lost/spool")}
    tracker = Tracker.open(TrackingConfig(), spool_dir=tmp_path / "b", run_name="lost", patience=60, **places)
    run = tracker.stage("tune")
    run.log_metrics({"loss": 0.5}, step=0, timestamp=1_800_000_000)
    run.finish()
    assert tracker.close(60) == 0 and store.list("runs") == []
    look = Looker(f"sqlite:///{tmp_path}/mlflow.db")
    assert _told(look) == [(step, 1_700_000_000_000 + 1000 * step, float(step)) for step in range(carried + 1)]
    written = replay(tmp_path / "lost", TrackingConfig(), **places) - 1  # and is found again
    assert written > carried
    assert _told(look) == [(step, 1_700_000_000_000 + 1000 * step, float(step)) for step in range(written)]
    assert look.runs("lost")["tune"].info.status == "FINISHED" and look.count("lost") == 2


def _last_step(store) -> int:
    """The last step that the store has of a run; -1 without any."""
    lines = [line for key in store.list("runs/lost/spool") for line in store.get(key).splitlines()]
    return max((json.loads(line).get("step", -1) for line in lines), default=-1)


def _told(look) -> list[tuple[int, int, float]]:
    """Steps, times and values of the loss in MLflow, doubles included."""
    history = look.client.get_metric_history(look.runs("lost")["tune"].info.run_id, "loss")
    return sorted((metric.step, metric.timestamp, metric.value) for metric in history)
