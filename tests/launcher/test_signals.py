"""Signals: each is forwarded, in order, whenever it comes; and what ends the launcher itself."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from signal import Signals

import pytest

from bootstrap.sandbox.supervision.signals import CANCEL
from tests.lab.engine import eventually
from tests.launcher.peer import SECONDS, Connection, Peer

# Run the launcher with signals that are there before its first instruction.
PENDING = """
import os, signal, sys
numbers = [int(number) for number in sys.argv[1].split(",")]
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
for number in numbers:
    os.kill(os.getpid(), number)
os.execv(sys.argv[2], sys.argv[2:])
"""


def state(process: subprocess.Popen[bytes]) -> str:
    with open(f"/proc/{process.pid}/stat") as file:  # noqa: PTH123 - read while it may change
        return file.read().rpartition(")")[2].split()[0]


def finish(connection: Connection, process: subprocess.Popen[bytes]) -> None:
    connection.send(b"E\x05")
    assert process.wait(SECONDS) == 5


def test_each_signal_is_forwarded_in_order(peer: Peer) -> None:
    order = [*CANCEL, *reversed(CANCEL), signal.SIGTERM, signal.SIGTERM]
    with peer.launched() as process, peer.accept() as connection:
        connection.request().close()
        received = []
        for number in order:
            process.send_signal(number)
            received.append(Signals(connection.read(1)[0]))
        assert received == order
        finish(connection, process)


def test_signals_of_one_moment_all_arrive(peer: Peer) -> None:
    with peer.launched() as process, peer.accept() as connection:
        connection.request().close()
        process.send_signal(signal.SIGSTOP)
        eventually(lambda: state(process) == "T", "it is stopped", SECONDS)
        for number in CANCEL:
            process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        assert set(connection.read(len(CANCEL))) == set(CANCEL)
        finish(connection, process)


@pytest.mark.parametrize("numbers", [(15,), (1,), tuple(map(int, CANCEL))], ids=str)
def test_signals_before_its_first_instruction_are_forwarded(
    peer: Peer, numbers: tuple[int, ...]
) -> None:
    pending = ",".join(map(str, numbers))
    command = [sys.executable, "-c", PENDING, pending, *peer.command()]
    with subprocess.Popen(command) as process, peer.accept() as connection:
        connection.request().close()
        assert set(connection.read(len(numbers))) == set(numbers)
        connection.send(b"S\x0f")
        assert process.wait(SECONDS) == -15


@pytest.mark.parametrize("number", CANCEL)
def test_signal_before_there_is_a_service_ends_it(peer: Peer, number: Signals) -> None:
    peer.close()
    with peer.launched() as process:
        process.send_signal(number)
        assert process.wait(SECONDS) == -number


def blocks(pid: int, number: Signals) -> bool:
    """Whether a process has blocked a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.partition("SigBlk:")[2].split()[0], 16) >> (number - 1) & 1)


def test_hook_that_is_ended_by_a_signal_does_not_refuse_the_job(peer: Peer) -> None:
    with peer.launched("admit") as process, peer.accept() as connection:
        connection.request().close()
        connection.send(b"S\x0f")
        assert process.wait(SECONDS) == 0
    peer.close()
    with peer.launched("admit") as process:
        eventually(lambda: blocks(process.pid, signal.SIGTERM), "it takes signals itself", SECONDS)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0


def test_signal_to_the_process_group_is_forwarded_once(peer: Peer) -> None:
    with peer.launched(start_new_session=True) as process, peer.accept() as connection:
        connection.request().close()
        os.killpg(process.pid, signal.SIGINT)
        assert connection.read(1) == bytes([signal.SIGINT])
        connection.send(b"S\x02")
        assert process.wait(SECONDS) == -signal.SIGINT
        assert connection.is_at_end()


def test_ignored_signals_are_forwarded_and_end_it_all_the_same(peer: Peer) -> None:
    command = ["sh", "-c", "trap '' TERM HUP; exec \"$@\"", "sh", *peer.command()]
    with subprocess.Popen(command) as process, peer.accept() as connection:
        connection.request().close()
        process.send_signal(signal.SIGTERM)
        assert connection.read(1) == bytes([signal.SIGTERM])
        connection.send(b"S\x0f")
        assert process.wait(SECONDS) == -signal.SIGTERM


def test_further_signals_do_not_change_how_it_dies(peer: Peer) -> None:
    with peer.launched() as process, peer.accept() as connection:
        connection.request().close()
        process.send_signal(signal.SIGSTOP)
        eventually(lambda: state(process) == "T", "it is stopped", SECONDS)
        connection.send(b"BS\x0a")
        for number in CANCEL:
            process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        assert process.wait(SECONDS) == -signal.SIGUSR1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGALRM, signal.SIGSEGV])
def test_end_of_a_killed_launcher_is_the_end_of_its_connection(peer: Peer, number: int) -> None:
    with peer.launched() as process, peer.accept() as connection:
        connection.request().close()
        connection.send(b"B")
        process.send_signal(number)
        assert connection.is_at_end()
        assert process.wait(SECONDS) == -number


def test_stopped_launcher_goes_on_where_it_was(peer: Peer) -> None:
    with peer.launched() as process, peer.accept() as connection:
        request = connection.request()
        request.close()
        process.send_signal(signal.SIGSTOP)
        eventually(lambda: state(process) == "T", "it is stopped", SECONDS)
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        assert connection.read(1) == bytes([signal.SIGTERM])
        finish(connection, process)


def test_silent_worker_is_waited_for_until_the_agent_kills(peer: Peer) -> None:
    with peer.launched() as process, peer.accept() as connection:
        connection.request().close()
        process.send_signal(signal.SIGTERM)
        assert connection.read(1) == bytes([signal.SIGTERM])
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.kill()
        assert process.wait(SECONDS) == -signal.SIGKILL
        assert connection.is_at_end()
