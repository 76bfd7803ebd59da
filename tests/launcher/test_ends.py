"""How the launcher ends: the job's status, its signal, a refusal, or the loss of the connection."""

import os
import resource
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from bootstrap.errors import AirlockError, CannotStart, StatusUnknown, WrongConfiguration
from bootstrap.log import README, JobLog
from tests.launcher.peer import SECONDS, Peer, ended_with

IGNORED = {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}
STOPPING = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
LOST = "has ended without a status"
NO_ANSWER = "closed the connection without an answer"


def refusal(status: int, text: bytes) -> bytes:
    return struct.pack("=cBH", b"R", status, len(text)) + text


@pytest.mark.parametrize("begin", [b"", b"B"], ids=["before", "after"])
def test_every_status_is_the_launchers(peer: Peer, begin: bytes) -> None:
    ends = [ended_with(peer, begin + b"E" + bytes([status])) for status in range(256)]
    assert ends == [(status, "") for status in range(256)]


@pytest.mark.parametrize("number", sorted(signal.valid_signals() - IGNORED - STOPPING))
def test_launcher_dies_by_every_signal_that_a_job_can_die_by(peer: Peer, number: int) -> None:
    assert ended_with(peer, b"BS" + bytes([number])) == (-number, "")


@pytest.mark.parametrize("number", sorted(IGNORED | STOPPING))
def test_signal_that_ends_nothing_becomes_a_status(peer: Peer, number: int) -> None:
    assert ended_with(peer, b"BS" + bytes([number])) == (128 + number, "")


def dumped(command: list[str], directory: Path, peer: Peer | None = None) -> bool:
    """Run a program with no limit on cores. Return whether the kernel wrote one when it ended."""
    unlimited = ["sh", "-c", 'ulimit -c unlimited; "$@" & wait', "sh"]
    assert resource.getrlimit(resource.RLIMIT_CORE)[1] == resource.RLIM_INFINITY
    with subprocess.Popen([*unlimited, *command], cwd=directory, stdin=subprocess.DEVNULL):
        if peer:
            with peer.accept() as connection:
                connection.request().close()
                connection.send(b"BS" + bytes([signal.SIGSEGV]))
                assert connection.is_at_end()
    return any(directory.iterdir())


def test_launcher_leaves_no_core_with_the_jobs_environment(peer: Peer, tmp_path: Path) -> None:
    (directory := tmp_path / "here").mkdir()
    if not Path("/proc/sys/kernel/core_pattern").read_text().startswith(("|", "/")):
        assert dumped([sys.executable, "-c", "import os; os.abort()"], directory)
        for core in directory.iterdir():
            core.unlink()
    assert not dumped(peer.command(), directory, peer)


@pytest.mark.parametrize(
    ("answer", "status", "problem"),
    [
        (b"", 125, NO_ANSWER),
        (b"E", 125, NO_ANSWER),
        (b"R\x4d\x05", 125, NO_ANSWER),
        (b"X", 125, NO_ANSWER),
        (b"S\x00", 125, NO_ANSWER),
        (b"S\x41", 125, NO_ANSWER),
        (refusal(0, b"no reason"), 125, NO_ANSWER),
        (b"B", 79, LOST),
        (b"BE", 79, LOST),
        (b"BB", 79, LOST),
        (b"BX", 79, LOST),
        (b"B\x00", 79, LOST),
        (b"B" + refusal(77, b"too late"), 79, LOST),
    ],
)
def test_end_without_a_status_is_never_taken_for_one(
    peer: Peer, answer: bytes, status: int, problem: str
) -> None:
    ended, output = ended_with(peer, answer)
    assert ended == status
    assert problem in output


@pytest.mark.parametrize(
    ("kind", "answer"), [(CannotStart, b""), (StatusUnknown, b"B"), (WrongConfiguration, None)]
)
def test_failure_is_shown_as_the_job_log_shows_it(
    peer: Peer, kind: type[AirlockError], answer: bytes | None
) -> None:
    if answer is None:
        command = [*peer.command()[:1], "--socket"]
        output = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    else:
        _, output = ended_with(peer, answer)
    problem, hint = output.splitlines()[1:3]
    lines: list[bytes] = []
    shown = kind(problem[len("\x1b[31m") : -len("\x1b[0m")], hint=hint.partition(": ")[2])
    JobLog(lines.append).failure(shown)
    assert output == b"".join(lines).decode()
    assert README in output


@pytest.mark.parametrize("size", [0, 1, 1024, 1025, 65535])
@pytest.mark.parametrize("status", [1, 77, 78, 125, 255])
def test_refusal_of_the_service_is_printed(peer: Peer, status: int, size: int) -> None:
    text = ("no job today\n" * 6000)[:size]
    assert ended_with(peer, refusal(status, text.encode())) == (status, text)


def test_refusal_that_breaks_off_keeps_its_status(peer: Peer) -> None:
    assert ended_with(peer, refusal(77, b"no job today")[:-6]) == (77, "no job")


def test_refusal_is_read_though_the_request_was_not(peer: Peer) -> None:
    """The service closes at once: what the launcher still sends meets a closed connection."""
    env = {f"NAME_{number}": "x" * 60000 for number in range(30)}
    with peer.launched(env=env) as process:
        with peer.accept() as connection:
            connection.send(refusal(77, b"not this user\n"))
        assert process.communicate(timeout=SECONDS) == (b"", b"not this user\n")
        assert process.returncode == 77


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"", 0),
        (refusal(125, b"too many\n"), 0),
        (b"E\x7d", 0),
        (b"B", 79),
        (b"E\x00", 0),
        (b"E\x4d", 77),
        (b"E\x46", 70),
        (refusal(78, b"not this user\n"), 78),
    ],
)
def test_hook_leaves_to_the_job_what_it_cannot_decide(
    peer: Peer, answer: bytes, status: int
) -> None:
    """A hook that fails ends the job as refused: nobody retries it, and its log has no reason."""
    with peer.launched("admit") as process, peer.accept() as connection:
        connection.request().close()
        connection.send(answer)
        connection.close()
        _, output = process.communicate(timeout=SECONDS)
    assert process.returncode == status
    decided = answer == b"E\x00" or status != 0
    assert (b"the job itself tries again" in output) is not decided


def test_answer_arrives_byte_by_byte(peer: Peer) -> None:
    with peer.launched() as process, peer.accept() as connection:
        connection.request().close()
        for byte in refusal(77, b"no"):
            connection.send(bytes([byte]))
        assert process.communicate(timeout=SECONDS) == (b"", b"no")


def test_output_that_nobody_reads_changes_no_status(peer: Peer) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with peer.launched(stderr=writer) as process:
        with peer.accept() as connection:
            connection.request().close()
            connection.send(refusal(77, b"no"))
        assert process.wait(SECONDS) == 77
    os.close(writer)


def test_output_to_a_pipe_made_non_blocking_is_complete(peer: Peer) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    text = b"reason\n" * 9000
    with peer.launched(stderr=writer) as process:
        with peer.accept() as connection:
            connection.request().close()
            connection.send(refusal(77, text))
        os.close(writer)
        with os.fdopen(reader, "rb") as output:
            assert output.read() == text
        assert process.wait(SECONDS) == 77
