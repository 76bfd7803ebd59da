"""On a terminal, as the agent runs jobs: the launcher leads its session, and ends with it."""

import os
import pty
import time

import pytest

from tests.launcher.peer import Peer


@pytest.mark.parametrize("answer", [b"BE\x07", b"R\x07\x0d\x00the last line"])
def test_last_line_has_time_to_reach_the_agent(peer: Peer, answer: bytes) -> None:
    """With the real agent, 11% of 400 last lines were lost without the pause, none with it."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(peer.command()[0], peer.command())  # noqa: S606
    with peer.accept() as connection:
        request = connection.request()
        if answer.startswith(b"B"):
            os.write(request.streams[1], b"the last line")
        assert all(map(os.isatty, request.streams))
        request.close()
        begun = time.monotonic()
        connection.send(answer)
    assert os.read(terminal, 100) == b"the last line"
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert time.monotonic() - begun >= 0.05
    os.close(terminal)


def seconds_to_end(peer: Peer) -> float:
    with peer.launched() as process:
        with peer.accept() as connection:
            connection.request().close()
            begun = time.monotonic()
            connection.send(b"BE\x00")
            assert connection.is_at_end()
            seconds = time.monotonic() - begun
        assert process.wait() == 0
    return seconds


def test_pipes_need_no_pause(peer: Peer) -> None:
    """The quickest of some: on a busy machine one may take long."""
    assert min(seconds_to_end(peer) for _ in range(10)) < 0.05
