"""The first signal counts, and before the job runs it interrupts at once."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from signal import Signals

import pytest

from bootstrap.sandbox.supervision.signals import (
    CANCEL,
    Cancellation,
    CancelledEarly,
    cancellation,
)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """Restore what the test run itself does with these signals."""
    before = {number: signal.getsignal(number) for number in CANCEL}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


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


@contextmanager
def cancelled_early() -> Iterator[None]:
    """Fail unless a cancellation ends what runs in this."""
    with (
        cancellation() as received,
        pytest.raises(CancelledEarly, match="SIGTERM"),
        received.interrupting(),
    ):
        yield


def test_failure_after_a_signal_is_the_cancellation() -> None:
    def fail_on_the_way_out() -> None:
        try:
            os.kill(os.getpid(), Signals.SIGTERM)
            signal.pause()
        except CancelledEarly:
            raise ValueError("cleaning up fails") from None

    with cancelled_early():
        fail_on_the_way_out()


def test_signal_whose_exception_got_no_further_counts_at_the_end() -> None:
    def go_on() -> None:
        with suppress(CancelledEarly):
            os.kill(os.getpid(), Signals.SIGTERM)
            signal.pause()

    with cancelled_early():
        go_on()


def test_failure_without_a_signal_stays_what_it_is() -> None:
    with (
        cancellation() as received,
        pytest.raises(ValueError, match="its own"),
        received.interrupting(),
    ):
        raise ValueError("its own")


def test_signal_waits_for_what_must_not_be_left_half_done() -> None:
    done = []

    def interrupted(received: Cancellation) -> None:
        with received.interrupting():
            with received.waiting():
                os.kill(os.getpid(), signal.SIGINT)
                done.append("whole")
            done.append("never")

    with cancellation() as received:
        with pytest.raises(CancelledEarly, match="SIGINT"):
            interrupted(received)
        with received.waiting():  # nothing is interrupted outside
            done.append("outside")
    assert done == ["whole", "outside"]


def test_signal_before_interrupting_raises_cancelled_early() -> None:
    with cancellation() as received:
        os.kill(os.getpid(), Signals.SIGINT)
        with pytest.raises(CancelledEarly, match="SIGINT"), received.interrupting():
            pytest.fail("the block must not run")


def test_a_signal_after_the_result_changes_nothing() -> None:
    """What follows `cancellation` is the process's own end."""
    with cancellation():
        assert signal.getsignal(Signals.SIGTERM) is not signal.SIG_DFL
    for number in CANCEL:
        os.kill(os.getpid(), number)
    assert {signal.getsignal(number) for number in CANCEL} == {signal.SIG_IGN}


@pytest.mark.parametrize("number", [Signals.SIGTERM, Signals.SIGINT, Signals.SIGKILL])
def test_die_by_ends_process_with_that_signal(number: Signals) -> None:
    code = (
        "import signal\n"
        "from bootstrap.sandbox.supervision.signals import cancellation, die_by\n"
        "with cancellation():\n"
        f"    die_by(signal.Signals({number:d}))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -number
