"""Ranks on this machine: real processes, real signals."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from deemo_dist.errors import LaunchError
from deemo_dist.launch import run_ranks

_RUNNER = (
    "import sys; from deemo_dist.launch import run_ranks; sys.exit(run_ranks(sys.argv[2:], ranks=int(sys.argv[1])))"
)


def _ranks(body: str, ranks: int = 2, **options: float) -> int:
    return run_ranks([sys.executable, "-S", "-c", f"import os, sys, time, signal\n{body}"], ranks=ranks, **options)


def _alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _until(ready: object, seconds: float = 10.0) -> None:
    limit = time.monotonic() + seconds
    while not ready():  # type: ignore[operator]
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.05)


def test_each_rank_knows_its_place_and_only_rank_0_is_heard(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUT", str(tmp_path))
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "OMP_NUM_THREADS")
    body = f"seen = ' '.join(os.environ[n] for n in {names})\nopen(os.environ['OUT'] + '/' + os.environ['RANK'], 'w')"
    assert _ranks(f"{body}.write(seen)\nprint('hello from', os.environ['RANK'])", threads=3) == 0
    assert (tmp_path / "0").read_text() == "0 2 0 127.0.0.1 3"
    assert (tmp_path / "1").read_text() == "1 2 1 127.0.0.1 3"
    heard = capfd.readouterr().out
    assert "hello from 0" in heard
    assert "hello from 1" not in heard


def test_a_failing_rank_is_named_with_its_last_lines_and_the_others_are_ended(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    started = time.monotonic()
    body = "if os.environ['RANK'] == '1':\n  print('no such tensor', flush=True); sys.exit(3)\ntime.sleep(60)"
    with caplog.at_level("ERROR", logger="deemo_dist"):
        assert _ranks(body) == 3
    assert time.monotonic() - started < 5
    assert "rank 1 of 2 exited with 3" in caplog.text
    assert "no such tensor" in caplog.text


def test_a_rank_that_ignores_the_end_of_another_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    body = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nif os.environ['RANK'] == '0':\n  time.sleep(60)\n"
    with caplog.at_level("ERROR", logger="deemo_dist"):
        code = _ranks(f"{body}time.sleep(.3)\nos.kill(os.getpid(), signal.SIGKILL)", grace=0.5)
    assert code == 128 + signal.SIGKILL
    assert "rank 1 of 2 was ended by SIGKILL" in caplog.text


def test_75_is_passed_through_and_the_others_may_finish_their_checkpoint(tmp_path: Path) -> None:
    mark = tmp_path / "saved"
    body = f"if os.environ['RANK'] == '0':\n  time.sleep(.5); open({str(mark)!r}, 'w').close()\nsys.exit(75)"
    assert _ranks(body) == 75
    assert mark.exists()


def test_a_rank_that_does_not_stop_after_75_is_killed_in_the_end() -> None:
    assert _ranks("if os.environ['RANK'] == '0':\n  time.sleep(60)\nsys.exit(75)", stop_grace=0.5) == 137


def test_the_time_limit_and_a_missing_program_are_said() -> None:
    with pytest.raises(LaunchError, match=r"ranks 0, 1 of 2 had not ended after 0\.5 s"):
        _ranks("time.sleep(60)", timeout=0.5)
    with pytest.raises(LaunchError, match="no-such-program is not there"):
        run_ranks(["no-such-program"], ranks=1)
    with pytest.raises(LaunchError, match="0 ranks"):
        run_ranks(["true"], ranks=0)


def test_it_runs_off_the_main_thread() -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(_ranks("sys.exit(int(os.environ['RANK']) * 5)")))
    thread.start()
    thread.join(20)
    assert codes == [5]


@pytest.mark.slow
def test_a_rank_that_closes_its_output_and_lives_costs_nothing() -> None:
    before = os.times()
    assert _ranks("os.close(1); os.close(2)\ntime.sleep(1.5)") == 0
    after = os.times()
    assert after.user + after.system - before.user - before.system < 0.5


def _runner(body: str, ranks: int = 2) -> subprocess.Popen[bytes]:
    script = f"import os, sys, time, signal, subprocess\n{body}"
    return subprocess.Popen([sys.executable, "-c", _RUNNER, str(ranks), sys.executable, "-S", "-c", script])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_signals_go_on_to_every_rank(number: signal.Signals, tmp_path: Path) -> None:
    mark = f"open({str(tmp_path)!r} + '/' + os.environ['RANK'] + %r, 'w').close()\n"
    body = (
        "def stop(n, f):\n  " + mark % "-told" + f"  sys.exit(75)\nsignal.signal({int(number)}, stop)\n" + mark % "-up"
    )
    runner = _runner(body + "time.sleep(60)")
    _until(lambda: (tmp_path / "0-up").exists() and (tmp_path / "1-up").exists())
    runner.send_signal(number)
    assert runner.wait(10) == 75
    assert (tmp_path / "0-told").exists()
    assert (tmp_path / "1-told").exists()


def test_nothing_outlives_a_launcher_that_is_killed(tmp_path: Path) -> None:
    """Neither the ranks, nor what they started, even if they would ignore every signal that can be ignored."""
    body = f"""
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(['sleep', '300'])
open({str(tmp_path)!r} + '/' + os.environ['RANK'], 'w').write(f'{{os.getpid()}} {{child.pid}}')
time.sleep(300)
"""
    runner = _runner(body)
    files = [tmp_path / "0", tmp_path / "1"]
    _until(lambda: all(file.exists() and len(file.read_text().split()) == 2 for file in files))
    pids = [int(pid) for file in files for pid in file.read_text().split()]
    assert all(map(_alive, pids))
    runner.kill()
    runner.wait()
    _until(lambda: not any(map(_alive, pids)), 5)


def test_what_a_rank_left_behind_ends_with_the_ranks(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    body = f"import subprocess\nopen({str(file)!r}, 'w').write(str(subprocess.Popen(['sleep', '300']).pid))"
    assert _ranks(body, ranks=1) == 0
    _until(lambda: not _alive(int(file.read_text())), 5)
