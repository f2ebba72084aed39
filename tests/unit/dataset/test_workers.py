"""Worker processes of the loader: results by shared memory, deaths named and survived, nobody left behind."""

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loader_functions import Echo, Tensors, tensors

from deemo_dist.dataset import transport
from deemo_dist.dataset.workers import Workers
from deemo_dist.errors import DatasetError, MediaError


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[Workers[Any, Any]]:
    pool: Workers[Any, Any] = Workers(Echo(tmp_path), 2)
    yield pool
    pool.shutdown()
    assert not [child for child in multiprocessing.active_children() if child.name.startswith("deemo-loader")]


def test_results_errors_and_deaths(echo: Workers[Any, Any], caplog: pytest.LogCaptureFixture) -> None:
    futures = [echo.submit(number, f"pack {number}") for number in range(20)]
    results = [future.result(30) for future in futures]
    assert [value for value, _ in results] == list(range(20))
    assert len({pid for _, pid in results}) == 2
    assert os.getpid() not in {pid for _, pid in results}
    with pytest.raises(MediaError, match="no picture") as caught:
        echo.submit("media", "pack 20").result(30)
    assert caught.value.reason == "broken"
    with pytest.raises(DatasetError, match="OddError: 1 and 2"):
        echo.submit("odd error", "pack 21").result(30)
    with pytest.raises(DatasetError, match="cannot be sent"):
        echo.submit("unsendable", "pack 22").result(30)
    caplog.set_level(logging.WARNING)
    logging.getLogger("deemo_dist").propagate = True
    others = [echo.submit(number, f"pack {number}") for number in range(4)]
    assert echo.submit("die once", "pack 23").result(30)[0] == "die once"
    assert [future.result(30)[0] for future in others] == [0, 1, 2, 3]
    assert any("died by signal 9 while it loaded pack 23" in message for message in caplog.messages)


@pytest.mark.slow
def test_a_task_that_kills_every_worker_fails_by_name(echo: Workers[Any, Any]) -> None:
    after = [echo.submit("die", "pack 0"), echo.submit(1, "pack 1"), echo.submit(2, "pack 2")]
    with pytest.raises(DatasetError, match=r"pack 0 ended its loader worker 3 times \(signal 9\)"):
        after[0].result(60)
    assert [future.result(30)[0] for future in after[1:]] == [1, 2]


def test_an_idle_worker_that_is_killed_is_replaced(echo: Workers[Any, Any]) -> None:
    pid = echo.submit(1, "pack 1").result(30)[1]
    os.kill(pid, signal.SIGKILL)
    later = [echo.submit(number, f"pack {number}").result(30) for number in range(4)]
    assert [value for value, _ in later] == [0, 1, 2, 3]
    assert pid not in {worker for _, worker in later}


def test_workers_do_not_hear_the_signals_of_a_job(echo: Workers[Any, Any]) -> None:
    pid = echo.submit(1, "pack 1").result(30)[1]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        os.kill(pid, number)
    time.sleep(0.1)
    os.kill(pid, 0)
    assert echo.submit(2, "pack 2").result(30)[0] == 2


def test_a_worker_that_stands_still_holds_up_nobody_else(tmp_path: Path) -> None:
    """Its tasks are larger than what a pipe takes: they are handed out all the same, and shutdown ends it."""
    pool: Workers[Any, Any] = Workers(Echo(tmp_path), 2)
    stopped = pool.submit(0, "pack 0").result(30)[1]
    while len({future.result(30)[1] for future in [pool.submit(n, f"pack {n}") for n in range(8)]}) < 2:
        time.sleep(0.02)
    os.kill(stopped, signal.SIGSTOP)
    large = [pool.submit(str(number) * 2_000_000, f"pack {number}") for number in range(8)]
    deadline = time.monotonic() + 20
    while sum(future.done() for future in large) < 6 and time.monotonic() < deadline:
        time.sleep(0.02)
    done = [(number, future.result()) for number, future in enumerate(large) if future.done()]
    assert len(done) == 6 and all(value == str(number) * 2_000_000 for number, (value, _) in done)
    assert stopped not in {pid for _, (_, pid) in done}
    ended = threading.Thread(target=pool.shutdown, daemon=True)
    ended.start()
    ended.join(10)
    assert not ended.is_alive()
    assert all(future.cancelled() for future in large if future not in [large[number] for number, _ in done])


def test_a_result_that_is_never_sent_whole_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool's thread waits for the rest of it: the worker is killed before the thread is waited for."""
    pool: Workers[Any, Any] = Workers(Echo(tmp_path), 1)
    waiting = threading.Event()

    def receive(pipe: Any) -> Any:
        waiting.set()
        return pipe.recv_bytes() and pipe.recv_bytes() and pipe.recv_bytes()

    monkeypatch.setattr(transport, "receive", receive)
    pool.submit(1, "pack 1")
    assert waiting.wait(30)
    ended = threading.Thread(target=pool.shutdown, daemon=True)
    ended.start()
    ended.join(10)
    assert not ended.is_alive()


def test_shutdown_ends_busy_workers_at_once(tmp_path: Path) -> None:
    pool: Workers[Any, Any] = Workers(Echo(tmp_path), 1)
    busy, waiting = pool.submit("sleep", "pack 0"), [pool.submit(n, f"pack {n}") for n in range(5)]
    while not (tmp_path / "asleep").exists():
        time.sleep(0.02)
    started = time.monotonic()
    pool.shutdown()
    assert time.monotonic() - started < 3
    assert busy.cancelled() and all(future.cancelled() for future in waiting)


def test_work_that_cannot_be_sent_is_refused() -> None:
    with pytest.raises(DatasetError, match="cannot be given its work"):
        Workers(lambda: None, 1)  # type: ignore[arg-type]


def test_a_module_that_the_worker_cannot_import_is_said() -> None:
    pool: Workers[Any, Any] = Workers(Tensors(), 1)
    pool._work = pool._work.replace(b"loader_functions", b"loader_funktions")
    with pytest.raises(DatasetError, match="cannot rebuild its work"):
        pool.submit(1, "pack 0").result(30)
    pool.shutdown()


def refuse_four(result: Any) -> Any:
    """A step in the pool's own thread that fails on one result."""
    if result[0] == 4:
        raise RuntimeError("no page-locked memory left")
    return result


def test_a_result_that_cannot_be_had_fails_alone(tmp_path: Path) -> None:
    pool: Workers[Any, Any] = Workers(Echo(tmp_path), 2, landed=refuse_four)
    futures = [pool.submit(task, f"pack {task}") for task in (*range(8), "unreadable", 8)]
    unsendable = pool.submit(lambda: None, "pack of a closure")
    with pytest.raises(RuntimeError, match="no page-locked memory"):
        futures.pop(4).result(30)
    with pytest.raises(DatasetError, match="cannot be rebuilt: ValueError"):
        futures.pop(7).result(30)
    with pytest.raises(DatasetError, match="pack of a closure cannot be sent"):
        unsendable.result(30)
    assert [future.result(30)[0] for future in futures] == [0, 1, 2, 3, 5, 6, 7, 8]
    pool.shutdown()


def test_nobody_waits_for_a_pool_whose_thread_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool: Workers[Any, Any] = Workers(Echo(tmp_path), 1)
    assert pool.submit(1, "pack 1").result(30)[0] == 1
    busy, waiting = pool.submit("sleep", "pack 2"), pool.submit(3, "pack 3")
    while not (tmp_path / "asleep").exists():
        time.sleep(0.02)
    monkeypatch.setattr(Workers, "_give", lambda self: 1 // 0)
    later = pool.submit(4, "pack 4")
    for future in (busy, waiting, later):
        with pytest.raises(DatasetError, match="cannot go on: ZeroDivisionError"):
            future.result(30)
    with pytest.raises(DatasetError, match="cannot go on"):
        pool.submit(5, "pack 5").result(30)
    started = time.monotonic()
    pool.shutdown()
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("value", [np.zeros((0, 3)), np.array([], dtype="U3"), np.asfortranarray(np.ones((2, 3)))])
def test_arrays_of_any_size_cross_whole(value: np.ndarray) -> None:
    ours, theirs = multiprocessing.Pipe()
    for sent in ([value], [value, value], [value, np.ones(3)]):
        transport.send(theirs, sent)
        for one, other in zip(transport.receive(ours), sent, strict=True):
            assert one.dtype == other.dtype and np.array_equal(one, other)
            assert one.flags.writeable


def test_tensors_cross_whole() -> None:
    import torch

    ours, theirs = multiprocessing.Pipe()
    transport.send(theirs, tensors(3))
    came, sent = transport.receive(ours), tensors(3)
    assert came.keys() == sent.keys()
    for name, value in sent.items():
        if isinstance(value, torch.Tensor):
            assert came[name].dtype == value.dtype and torch.equal(came[name], value), name
        elif isinstance(value, np.ndarray):
            assert np.array_equal(came[name], value)
        else:
            assert came[name] == value
    came["float"] += 1  # writable, and nobody else's
    with pytest.raises((AttributeError, TypeError)):
        transport.send(theirs, {"no": lambda: None})
    transport.send(theirs, "and the pipe still serves")
    assert transport.receive(ours) == "and the pipe still serves"
    theirs.close()
    with pytest.raises(EOFError):
        transport.receive(ours)
