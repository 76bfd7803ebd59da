"""The conversation with a builder's first program, whose other end says what it likes."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bootstrap.errors import CannotStart
from bootstrap.sandbox.builds import control


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "PATIENCE", 0.2)


@contextmanager
def soon() -> Iterator[None]:
    """What happens here takes far less than the 20 s of a job."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 3


@contextmanager
def builder(path: Path) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield the listener, and a connection to it; later than all patience it closes."""
    with (
        control.listening(path, "control", os.getuid()) as listener,
        socket.socket(socket.AF_UNIX) as client,
    ):
        client.connect(str(path / "control"))
        closing = threading.Timer(4, client.shutdown, (socket.SHUT_RDWR,))
        closing.start()
        try:
            yield listener, client
        finally:
            closing.cancel()


def test_one_that_does_not_come_is_not_waited_for(tmp_path: Path) -> None:
    with (
        control.listening(tmp_path, "control", os.getuid()) as listener,
        soon(),
        pytest.raises(CannotStart, match="its first program does not answer: timed out"),
    ):
        control.connected(listener)


def test_one_that_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    with (
        builder(tmp_path) as (listener, _),
        soon(),
        pytest.raises(CannotStart, match="its first program does not answer: timed out"),
    ):
        control.connected(listener)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (b"unshare 28\n", "unshare: No space left on device"),
        (b"unshare what\n", "unshare: what"),
        (b"\n\n", "its first program has ended"),
        (b"\xff\n", "\N{REPLACEMENT CHARACTER}: "),
    ],
)
def test_the_step_that_fails_first_is_named(tmp_path: Path, words: bytes, why: str) -> None:
    with builder(tmp_path) as (listener, client):
        client.send(words)
        with pytest.raises(CannotStart) as raised:
            control.connected(listener)
    assert raised.value.problem == f"the BuildKit of the job could not be started: {why}"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (b"unshare 28\n", "unshare: No space left on device"),
        (b"\n", "its first program has ended"),
        (b"", "its first program has ended"),
    ],
)
def test_one_that_has_ended_at_once_has_left_its_reason(
    tmp_path: Path, words: bytes, why: str
) -> None:
    with control.listening(tmp_path, "control", os.getuid()) as listener:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "control"))
            client.send(words)
        with soon():
            reason = control.ended(listener)
        assert reason.problem == f"the BuildKit of the job could not be started: {why}"
        with soon():  # and now none has come
            assert control.ended(listener).problem.endswith("its first program has ended")


def test_who_asks_is_known_by_the_kernel(tmp_path: Path) -> None:
    with builder(tmp_path) as (listener, client):
        client.send(b"\n")
        connection, pid = control.connected(listener)
        connection.close()
    assert pid == os.getpid()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (b"", "its first program does not go on: timed out"),
        (b"execve 2\n", "execve: No such file or directory"),
    ],
)
def test_one_that_does_not_become_buildkit_is_a_reason(words: bytes, why: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(control.PATIENCE)
        theirs.send(words)
        with soon(), pytest.raises(CannotStart) as raised:
            control.begin(ours, (0,))
    assert raised.value.problem.endswith(why)


def test_one_that_has_gone_is_a_reason() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours, pytest.raises(CannotStart, match="its first program does not go on: "):
        control.begin(ours, (0,))


def test_one_whose_connection_ends_has_become_buildkit() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.shutdown(socket.SHUT_WR)
        control.begin(ours, (0,))
        assert theirs.recv(8) == b"\n"
        theirs.close()
