"""The filter in front of a real ssh-agent, with real clients and with hostile ones."""

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

from bootstrap.sandbox.ssh.agent_filter import MAX_CONNECTIONS, AgentFilter, Usage
from bootstrap.sandbox.ssh.agent_protocol import FAILURE, MAX_MESSAGE
from tests.lab.descriptors import none_free, share_of_processor
from tests.lab.engine import eventually

LIST = struct.pack(">IB", 1, 11)
REMOVE_ALL = struct.pack(">IB", 1, 19)
IDENTITIES, SUCCESS = 12, 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Filtered:
    """A plain agent with one key, and the filter in front of it."""

    filter: AgentFilter
    front: Path
    plain: Path
    key: Path

    def client(self) -> socket.socket:
        connected = socket.socket(socket.AF_UNIX)
        connected.connect(str(self.front))  # blocks while the queue is full
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
def filtered(tmp_path: Path) -> Iterator[Filtered]:
    key, plain, front = tmp_path / "key", tmp_path / "plain", tmp_path / "front"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    with plain_agent(plain):
        assert ssh_add(plain, "-q", str(key)).returncode == 0
        guard = AgentFilter(front, plain, uid=os.getuid())
        guard.start()
        try:
            yield Filtered(filter=guard, front=front, plain=plain, key=key)
        finally:
            guard.close()


def answer(client: socket.socket) -> bytes:
    """Read one answer; an empty or partial one if the other side disconnects."""
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


def test_keys_behind_filter_are_listed_and_sign(filtered: Filtered) -> None:
    assert filtered.key.with_suffix(".pub").read_text().split()[1] in filtered.add("-L").stdout
    assert filtered.add("-T", str(filtered.key)).returncode == 0
    assert filtered.filter.close() == Usage(signed=1, not_signed=0, refused={})


def test_request_that_changes_agent_is_refused(filtered: Filtered) -> None:
    for arguments in (["-q", str(filtered.key)], ["-D"], ["-d", str(filtered.key)]):
        assert filtered.add(*arguments).returncode != 0
    with filtered.client() as client:
        assert ask(client, REMOVE_ALL) == FAILURE
        assert ask(client, LIST)[4] == IDENTITIES, "the connection stays open"
    assert ssh_add(filtered.plain, "-l").returncode == 0
    refused = filtered.filter.close().refused
    assert refused["add-identity"] == 1
    assert refused["remove-all-identities"] == 2
    assert refused["remove-identity"] == 1


def test_request_that_changes_agent_succeeds_without_filter(filtered: Filtered) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(filtered.plain))
        assert ask(client, REMOVE_ALL)[4] == SUCCESS
    assert "no identities" in filtered.add("-l").stdout


@pytest.mark.parametrize("length", [0, MAX_MESSAGE + 1, 0xFFFFFFFF])
def test_message_of_invalid_length_is_refused_and_ends_connection(
    filtered: Filtered, length: int
) -> None:
    with filtered.client() as client:
        assert ask(client, struct.pack(">I", length)) == FAILURE
        assert answer(client) == b""
    assert filtered.add("-l").returncode == 0


def test_message_of_maximal_length_is_read_and_refused(filtered: Filtered) -> None:
    with filtered.client() as client:
        assert ask(client, struct.pack(">IB", MAX_MESSAGE, 13) + bytes(MAX_MESSAGE - 1)) == FAILURE
        assert ask(client, LIST)[4] == IDENTITIES


def test_requests_sent_back_to_back_are_answered_in_order(filtered: Filtered) -> None:
    with filtered.client() as client:
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


def test_client_is_served_while_others_are_silent_or_stuck(filtered: Filtered) -> None:
    """Ten are silent, one stops within a message, and one reads no answers."""
    with ExitStack() as held:
        silent = [held.enter_context(filtered.client()) for _ in range(10)]
        halfway = held.enter_context(filtered.client())
        halfway.sendall(struct.pack(">IB", MAX_MESSAGE, 13))
        unread = held.enter_context(filtered.client())
        unread.settimeout(0.2)
        with pytest.raises(TimeoutError):
            unread.sendall(LIST * 1_000_000)
        assert filtered.add("-T", str(filtered.key)).returncode == 0
        assert ask(silent[0], LIST)[4] == IDENTITIES


def test_client_that_stops_within_message_is_disconnected(tmp_path: Path) -> None:
    """However steadily it sends single bytes: the time is for the whole message."""
    guard = AgentFilter(tmp_path / "front", tmp_path / "none", uid=os.getuid(), patience=0.3)
    guard.start()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "front"))
        client.sendall(struct.pack(">IB", MAX_MESSAGE, 13))
        client.settimeout(0.02)

        def disconnected() -> bool:
            try:
                client.send(b"x")
                return client.recv(1) == b""
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        eventually(disconnected, "the filter disconnects", 5)
    guard.close()


def test_client_beyond_the_limit_replaces_a_silent_one(
    filtered: Filtered,
) -> None:
    with ExitStack() as held:
        honest = held.enter_context(filtered.client())
        assert ask(honest, LIST)[4] == IDENTITIES
        silent = [held.enter_context(filtered.client()) for _ in range(3 * MAX_CONNECTIONS)]
        assert filtered.add("-T", str(filtered.key)).returncode == 0
        assert ask(honest, LIST)[4] == IDENTITIES
        gone, _, _ = select.select(silent, [], [], 0)
        assert len(gone) >= len(silent) + 1 - MAX_CONNECTIONS


def test_silent_clients_without_filter_stay_connected(filtered: Filtered) -> None:
    with ExitStack() as held:
        silent = [held.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(200)]
        for client in silent:
            client.connect(str(filtered.plain))
        assert ssh_add(filtered.plain, "-l").returncode == 0
        gone, _, _ = select.select(silent, [], [], 0)
        assert gone == []


@pytest.mark.lab
def test_connection_of_another_uid_is_refused(tmp_path: Path) -> None:
    """Even of root, which may open every socket: the kernel reports the peer's uid."""
    guard = AgentFilter(tmp_path / "front", tmp_path / "none", uid=2000)
    guard.start()
    assert (tmp_path / "front").stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(tmp_path / "front"))
        assert client.recv(1) == b""
    assert guard.close().refused == {"connection of another user": 1}


def test_request_after_agent_ended_is_refused_and_counted(tmp_path: Path) -> None:
    guard = AgentFilter(tmp_path / "front", tmp_path / "none", uid=os.getuid())
    guard.start()
    assert ssh_add(tmp_path / "front", "-l").returncode != 0
    assert guard.close().refused == {"request after the agent had ended": 1}


def test_without_descriptors_it_waits_and_then_goes_on(filtered: Filtered) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        with none_free():
            client.connect(str(filtered.front))
            assert share_of_processor("ssh-agent") < 0.2
        assert ask(client, LIST)[4] == IDENTITIES


def test_close_with_open_connection_ends_it_at_once(filtered: Filtered) -> None:
    with filtered.client() as client:
        assert ask(client, LIST)[4] == IDENTITIES
        filtered.filter.close()
        assert answer(client) == b""
