"""The filter in front of a real ssh-agent, with real clients and with some that mean it harm."""

import os
import select
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bootstrap.sandbox.agent_filter import MAX_CONNECTIONS, AgentFilter, Usage
from bootstrap.sandbox.agent_protocol import FAILURE, MAX_MESSAGE
from tests.lab.engine import eventually

LIST = struct.pack(">IB", 1, 11)
REMOVE_ALL = struct.pack(">IB", 1, 19)
IDENTITIES, SUCCESS = 12, 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Guarded:
    """A plain agent with one key, and the filter in front of it."""

    guard: AgentFilter
    front: Path
    plain: Path
    key: Path

    def client(self) -> socket.socket:
        connected = socket.socket(socket.AF_UNIX)
        connected.connect(str(self.front))  # waits while there is a queue
        connected.settimeout(10)
        return connected

    def add(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return ssh_add(self.front, *arguments)


def ssh_add(agent: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "SSH_AUTH_SOCK": str(agent)}
    return subprocess.run(
        ["ssh-add", *arguments], env=env, capture_output=True, text=True, check=False, timeout=30
    )


@contextmanager
def plain_agent(path: Path) -> Iterator[None]:
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL) as agent:
        try:
            eventually(path.exists, "the agent listens")
            yield
        finally:
            agent.terminate()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    key, plain, front = tmp_path / "key", tmp_path / "plain", tmp_path / "front"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    with plain_agent(plain):
        assert ssh_add(plain, "-q", str(key)).returncode == 0
        guard = AgentFilter(front, plain, uid=os.getuid())
        guard.start()
        try:
            yield Guarded(guard=guard, front=front, plain=plain, key=key)
        finally:
            guard.close()


def answer(client: socket.socket) -> bytes:
    """Read one answer; nothing, or a part of one, if the other side hangs up."""
    received = b""
    while len(received) < 4 or len(received) < 4 + int.from_bytes(received[:4], "big"):
        chunk = client.recv(65536)
        if not chunk:
            break
        received += chunk
    return received


def ask(client: socket.socket, request: bytes) -> bytes:
    client.sendall(request)
    return answer(client)


def test_keys_are_listed_and_sign(guarded: Guarded) -> None:
    assert guarded.key.with_suffix(".pub").read_text().split()[1] in guarded.add("-L").stdout
    assert guarded.add("-T", str(guarded.key)).returncode == 0
    assert guarded.guard.close() == Usage(signed=1, not_signed=0, refused={})


def test_what_changes_the_agent_never_reaches_it(guarded: Guarded) -> None:
    for arguments in (["-q", str(guarded.key)], ["-D"], ["-d", str(guarded.key)]):
        assert guarded.add(*arguments).returncode != 0
    with guarded.client() as client:
        assert ask(client, REMOVE_ALL) == FAILURE
        assert ask(client, LIST)[4] == IDENTITIES, "and the connection goes on"
    assert ssh_add(guarded.plain, "-l").returncode == 0
    refused = guarded.guard.close().refused
    assert refused["add-identity"] == 1
    assert refused["remove-all-identities"] == 2
    assert refused["remove-identity"] == 1


def test_without_the_filter_it_does(guarded: Guarded) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(guarded.plain))
        assert ask(client, REMOVE_ALL)[4] == SUCCESS
    assert "no identities" in guarded.add("-l").stdout


@pytest.mark.parametrize("length", [0, MAX_MESSAGE + 1, 0xFFFFFFFF])
def test_a_message_of_no_length_is_the_last(guarded: Guarded, length: int) -> None:
    with guarded.client() as client:
        assert ask(client, struct.pack(">I", length)) == FAILURE
        assert answer(client) == b""
    assert guarded.add("-l").returncode == 0


def test_the_longest_message_is_read_and_refused(guarded: Guarded) -> None:
    with guarded.client() as client:
        assert ask(client, struct.pack(">IB", MAX_MESSAGE, 13) + bytes(MAX_MESSAGE - 1)) == FAILURE
        assert ask(client, LIST)[4] == IDENTITIES


def test_requests_that_follow_each_other_are_answered_in_order(guarded: Guarded) -> None:
    with guarded.client() as client:
        client.sendall((LIST + REMOVE_ALL) * 100)
        assert _kinds(client, 200) == [IDENTITIES, FAILURE[4]] * 100


def _kinds(client: socket.socket, count: int) -> list[int]:
    """Read so many answers from a client that gets them back to back."""
    with client.makefile("rb") as stream:
        kinds = []
        for _ in range(count):
            (length,) = struct.unpack(">I", stream.read(4))
            kinds.append(stream.read(length)[0])
    return kinds


def test_no_client_waits_for_another(guarded: Guarded) -> None:
    """Silent ones, one that stops in a message, and one that takes no answer."""
    with ExitStack() as held:
        silent = [held.enter_context(guarded.client()) for _ in range(10)]
        halfway = held.enter_context(guarded.client())
        halfway.sendall(struct.pack(">IB", MAX_MESSAGE, 13))
        deaf = held.enter_context(guarded.client())
        deaf.settimeout(0.2)
        with pytest.raises(TimeoutError):
            deaf.sendall(LIST * 1_000_000)
        assert guarded.add("-T", str(guarded.key)).returncode == 0
        assert ask(silent[0], LIST)[4] == IDENTITIES


def test_whoever_stops_in_a_message_is_hung_up_on(tmp_path: Path) -> None:
    """However steadily the bytes drip: the time is for the whole message."""
    guard = AgentFilter(tmp_path / "front", tmp_path / "none", uid=os.getuid(), patience=0.3)
    guard.start()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "front"))
        client.sendall(struct.pack(">IB", MAX_MESSAGE, 13))
        client.settimeout(0.02)

        def gone() -> bool:
            try:
                client.send(b"x")
                return client.recv(1) == b""
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        eventually(gone, "the filter hangs up", 5)
    guard.close()


def test_more_clients_than_there_is_room_for_take_the_place_of_silent_ones(
    guarded: Guarded,
) -> None:
    with ExitStack() as held:
        honest = held.enter_context(guarded.client())
        assert ask(honest, LIST)[4] == IDENTITIES
        silent = [held.enter_context(guarded.client()) for _ in range(3 * MAX_CONNECTIONS)]
        assert guarded.add("-T", str(guarded.key)).returncode == 0
        assert ask(honest, LIST)[4] == IDENTITIES
        gone, _, _ = select.select(silent, [], [], 0)
        assert len(gone) >= len(silent) + 1 - MAX_CONNECTIONS


@pytest.mark.lab
def test_nobody_else_is_let_in(tmp_path: Path) -> None:
    """Not even root, who may open every socket: the kernel says who connects."""
    guard = AgentFilter(tmp_path / "front", tmp_path / "none", uid=2000)
    guard.start()
    assert (tmp_path / "front").stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(tmp_path / "front"))
        assert client.recv(1) == b""
    assert guard.close().refused == {"connection of another user": 1}


def test_an_agent_that_has_ended_is_said_to_have(tmp_path: Path) -> None:
    guard = AgentFilter(tmp_path / "front", tmp_path / "none", uid=os.getuid())
    guard.start()
    assert ssh_add(tmp_path / "front", "-l").returncode != 0
    assert guard.close().refused == {"request after the agent had ended": 1}


def test_closing_waits_for_nobody(guarded: Guarded) -> None:
    with guarded.client() as client:
        assert ask(client, LIST)[4] == IDENTITIES
        guarded.guard.close()
        assert answer(client) == b""
