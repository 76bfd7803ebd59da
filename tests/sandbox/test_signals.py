"""The first signal counts, and before the job runs it ends everything at once."""

import os
import signal
import subprocess
import sys
from signal import Signals

import pytest

from bootstrap.sandbox.signals import CANCEL, CancelledEarly, cancellation


@pytest.mark.parametrize("number", CANCEL, ids=lambda number: number.name)
def test_the_first_signal_is_kept_and_wakes_the_loop(number: Signals) -> None:
    with cancellation() as noted:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), Signals.SIGTERM)
        assert noted.first is number
        assert os.read(noted.descriptor, 16) == b"!"


def test_while_the_room_is_being_opened_a_signal_interrupts() -> None:
    def open_the_room() -> None:
        with noted.interrupting():
            os.kill(os.getpid(), Signals.SIGTERM)
            signal.pause()

    with cancellation() as noted, pytest.raises(CancelledEarly, match="SIGTERM"):
        open_the_room()


def test_a_signal_from_before_is_not_forgotten() -> None:
    with cancellation() as noted:
        os.kill(os.getpid(), Signals.SIGINT)
        with pytest.raises(CancelledEarly, match="SIGINT"), noted.interrupting():
            pytest.fail("the room must not be opened")


def test_handlers_are_given_back() -> None:
    before = signal.getsignal(Signals.SIGTERM)
    with cancellation():
        assert signal.getsignal(Signals.SIGTERM) is not before
    assert signal.getsignal(Signals.SIGTERM) is before


@pytest.mark.parametrize("number", [Signals.SIGTERM, Signals.SIGINT, Signals.SIGKILL])
def test_the_agent_sees_the_signal_itself(number: Signals) -> None:
    code = (
        "import signal\n"
        "from bootstrap.sandbox.signals import cancellation, die_by\n"
        "with cancellation():\n"
        f"    die_by(signal.Signals({number:d}))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -number
