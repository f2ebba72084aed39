"""The wish to stop."""

import os
import signal

import pytest

from deemo_dist.training.signals import STOP_SIGNALS, listening


def test_a_signal_sets_the_flag_and_the_old_handler_comes_back() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with listening() as flag:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert flag.reason == "SIGUSR1"
    assert signal.getsignal(signal.SIGUSR1) is before


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_every_stop_signal_is_remembered_by_its_name(number: signal.Signals) -> None:
    with listening() as stop:
        assert not stop
        os.kill(os.getpid(), number)
        assert stop and stop.reason == number.name


def test_a_second_interrupt_ends_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), listening():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_between_two_stages_is_not_lost() -> None:
    with listening() as chain:
        with listening() as first:
            assert first is chain
        os.kill(os.getpid(), signal.SIGTERM)
        with listening() as second:
            assert second.reason == "SIGTERM"
    with listening() as later:
        assert not later
