"""The wish to stop."""

import os
import signal

from deemo_dist.training.signals import listening


def test_a_signal_sets_the_flag_and_the_old_handler_comes_back() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with listening() as flag:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert flag.reason == "SIGUSR1"
    assert signal.getsignal(signal.SIGUSR1) is before


def test_a_signal_between_two_stages_is_not_lost() -> None:
    with listening() as chain:
        with listening() as first:
            assert first is chain
        os.kill(os.getpid(), signal.SIGTERM)
        with listening() as second:
            assert second.reason == "SIGTERM"
    with listening() as later:
        assert not later
