"""What is done in a process of its own: its result, its failure, its end."""

import os
import signal
import time

import pytest

from bootstrap.apart import Apart
from bootstrap.errors import CannotStart, NoAnswer
from bootstrap.secret import Secret


def test_the_result_comes_back_and_its_secrets_with_it() -> None:
    pid, secret = Apart(lambda: (os.getpid(), Secret("hush"))).result()
    assert pid != os.getpid()
    assert secret.reveal() == "hush"


def test_a_failure_is_raised_as_it_was() -> None:
    def fail() -> None:
        raise NoAnswer("nobody answers", hint="Retry.", details=("one",))

    with pytest.raises(NoAnswer) as failed:
        Apart(fail).result()
    assert (failed.value.problem, failed.value.hint) == ("nobody answers", "Retry.")
    assert failed.value.details == ("one",)


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError) as failed:
        Apart(lambda: 1 // 0).result()
    assert "in _answer" in failed.value.__notes__[0]


def test_a_process_that_was_killed_is_an_error() -> None:
    with pytest.raises(CannotStart, match="was killed"):
        Apart(lambda: os.kill(os.getpid(), signal.SIGKILL)).result()


def test_closing_waits_for_nothing() -> None:
    began = time.monotonic()
    apart = Apart(signal.pause)
    apart.close()
    apart.close()
    assert time.monotonic() - began < 10


def test_a_failure_that_cannot_be_copied_is_named() -> None:
    class Local(Exception):
        pass

    def fail() -> None:
        raise Local("odd")

    with pytest.raises(RuntimeError, match=r"Local\('odd'\)"):
        Apart(fail).result()


def test_a_process_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bootstrap.apart.LIMIT", 0.2)
    apart = Apart(signal.pause)
    with pytest.raises(CannotStart, match="was killed"):
        apart.result()
