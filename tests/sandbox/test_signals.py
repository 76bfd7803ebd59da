"""The first signal counts, and before the job runs it interrupts at once."""

import os
import signal
import subprocess
import sys
from signal import Signals

import pytest

from bootstrap.sandbox.signals import CANCEL, CancelledEarly, cancellation


@pytest.mark.parametrize("number", CANCEL, ids=lambda number: number.name)
def test_first_signal_is_kept_and_wakes_the_loop(number: Signals) -> None:
    with cancellation() as received:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), Signals.SIGTERM)
        assert received.first is number
        assert os.read(received.descriptor, 16) == b"!"


def test_signal_while_interrupting_raises_cancelled_early() -> None:
    def wait_for_signal() -> None:
        with received.interrupting():
            os.kill(os.getpid(), Signals.SIGTERM)
            signal.pause()

    with cancellation() as received, pytest.raises(CancelledEarly, match="SIGTERM"):
        wait_for_signal()


def test_signal_before_interrupting_raises_cancelled_early() -> None:
    with cancellation() as received:
        os.kill(os.getpid(), Signals.SIGINT)
        with pytest.raises(CancelledEarly, match="SIGINT"), received.interrupting():
            pytest.fail("the block must not run")


def test_handlers_are_restored_after_cancellation() -> None:
    before = signal.getsignal(Signals.SIGTERM)
    with cancellation():
        assert signal.getsignal(Signals.SIGTERM) is not before
    assert signal.getsignal(Signals.SIGTERM) is before


@pytest.mark.parametrize("number", [Signals.SIGTERM, Signals.SIGINT, Signals.SIGKILL])
def test_die_by_ends_process_with_that_signal(number: Signals) -> None:
    code = (
        "import signal\n"
        "from bootstrap.sandbox.signals import cancellation, die_by\n"
        "with cancellation():\n"
        f"    die_by(signal.Signals({number:d}))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -number
