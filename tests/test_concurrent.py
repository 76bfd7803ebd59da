"""Work in another thread: its result, its failure, and that nobody has to wait for it."""

import threading

import pytest

from bootstrap.concurrent import Begun


def test_the_result_is_what_the_call_returned_however_often_it_is_asked_for() -> None:
    begun = Begun(lambda: 7, "seven")
    assert (begun.result(), begun.result()) == (7, 7)


def test_the_failure_is_raised_by_whoever_waits() -> None:
    def fail() -> None:
        raise ValueError("no")

    begun = Begun(fail, "fails")
    with pytest.raises(ValueError, match="no"):
        begun.result()
    with pytest.raises(ValueError, match="no"):
        begun.result()


def test_a_call_runs_beside_its_caller_and_keeps_no_process_alive() -> None:
    gate = threading.Event()
    begun = Begun(gate.wait, "waits")
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "waits"]
    assert thread.daemon
    gate.set()
    assert begun.result() is True
