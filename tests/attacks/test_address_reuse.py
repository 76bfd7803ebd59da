"""Promises 3 and 5, over time: what a finished job leaves at its address does not reach the next.

The engine reuses an address as soon as its container has ended. Here the container has ended and
its wrapper is stopped, so that nothing is cleared for as long as the test runs.
"""

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from bootstrap.errors import CannotStart
from bootstrap.sandbox.model import Running
from bootstrap.sandbox.network import firewall
from tests.attacks.attacker import Attacker, Unprotected, attacker, container_of, run
from tests.fakes.control_plane import Job
from tests.lab import world
from tests.lab.engine import eventually
from tests.lab.lab import DELETE_RULESET, ROLE, Fleet
from tests.lab.leftovers import leftovers

pytestmark = pytest.mark.lab

POLICY = (
    f"  - name: deploy\n    when: {{branch: main}}\n    allow: {{role: '{ROLE}'}}\n"
    "  - name: others\n    when: {branch: '*'}\n    allow: {}\n"
)
FETCH = """
path=$(tr '\\0' '\\n' < /proc/$(pgrep -f 'sleep 300' | head -1)/environ |
  sed -n 's/^AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=//p')
curl -s -m 3 -o /dev/null -w '%{http_code}' "http://169.254.170.2$path"
"""
CONNECT = "timeout 2 bash -c 'exec 3<>/dev/tcp/169.254.170.2/80' && echo reached"

ECHO = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 8099))
while True: s.sendto(b"pong", s.recvfrom(100)[1])
"""

# Sends from a fixed port, and prints what comes back within a second.
UDP = """
python3 - <<'PY'
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", {source}))
s.settimeout(1)
if {send}: s.sendto(b"hello", ("10.77.0.2", {port}))
try: print(s.recv(100).decode())
except TimeoutError: print("nothing")
PY
"""


class Outside:
    """A host in the world that keeps sending to every address from which it got a datagram."""

    def __init__(self, ours: socket.socket) -> None:
        self.port = ours.getsockname()[1]
        self._socket = ours
        self._peers: set[tuple[str, int]] = set()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._talk)

    def _talk(self) -> None:
        while not self._closing.is_set():
            try:
                self._peers.add(self._socket.recvfrom(100)[1])
            except TimeoutError:
                for peer in self._peers:
                    self._socket.sendto(b"for the first job", peer)

    def __enter__(self) -> Self:
        self._socket.settimeout(0.02)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()
        self._socket.close()


def outside() -> Outside:
    def bound() -> socket.socket:
        ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ours.bind((world.WORLD, 0))
        return ours

    return Outside(world.inside_world(bound))


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """A job whose container has ended and whose wrapper is stopped."""

    fleet: Fleet
    job: Job
    wrapper: int
    address: str

    def wake(self) -> None:
        """Let the wrapper clean up, late, and wait for its end."""
        os.kill(self.wrapper, signal.SIGCONT)
        self.fleet.control.finished(self.job)


@contextmanager
def ended(fleet: Fleet, command: str = "true") -> Iterator[Ended]:
    with fleet.agent(name="first") as agent:
        command = f"{command}\necho running\nsleep 300"
        job = fleet.control.enqueue(fleet.env(command, BUILDKITE_AGENT_NAME="first"))
        fleet.control.wait(job, lambda j: b"\nrunning" in j.log or j.finish)
        assert job.finish is None, job.log.decode()
        container = container_of(fleet, job)
        sandbox = Attacker(fleet=fleet, job=job, container=container)
        first = Ended(fleet=fleet, job=job, wrapper=agent.bootstrap_pid(), address=sandbox.address)
        os.kill(first.wrapper, signal.SIGSTOP)
        try:
            run("docker", "-H", fleet.lab.docker, "rm", "-f", container)
            yield first
        finally:
            if job.finish is None:
                first.wake()


@contextmanager
def unclaimed(fleet: Fleet) -> Iterator[Unprotected]:
    """The next container at the address without Airlock's claim, behind the same ruleset."""
    docker = ["docker", "-H", fleet.lab.docker]
    container = run(
        *docker, "run", "-d", "--network", "airlock", "--user", "2000:2000", "--cap-drop", "ALL",
        fleet.lab.image, "sleep", "60",
    ).strip()  # fmt: skip
    try:
        yield Unprotected(docker=docker, container=container)
    finally:
        run(*docker, "rm", "-f", container)


def test_reused_address_datagrams_for_previous_job_are_not_delivered(
    fleet: Fleet,
) -> None:
    with outside() as peer:
        send = UDP.format(source=5555, send=True, port=peer.port)
        listen = UDP.format(source=5555, send=False, port=0)
        with ended(fleet, send) as first:
            with unclaimed(fleet) as bare:
                assert bare.tries(listen).stdout == "for the first job\n", "without a claim"
            with attacker(fleet) as successor:
                assert successor.address == first.address
                assert successor.tries(listen).stdout == "nothing\n"
                own = UDP.format(source=5556, send=True, port=peer.port)
                assert successor.tries(own).stdout == "for the first job\n", "its own flows work"
    assert leftovers(fleet) == []


def test_reused_address_stale_credential_listener_is_replaced(
    fleet: Fleet,
) -> None:
    fleet.policy(POLICY)
    with ended(fleet) as first:
        stale = firewall.listeners()[first.address]
        with pytest.raises(subprocess.CalledProcessError) as refused:
            add_element(first.address, stale + 1)
        assert "File exists" in refused.value.stderr, "it blocks a plain add"
        with unclaimed(fleet) as bare:
            assert bare.tries(CONNECT).stdout == "reached\n", "it misleads without a claim"
        with attacker(fleet, BUILDKITE_BRANCH="feature") as unprivileged:
            assert unprivileged.address == first.address
            assert unprivileged.tries(CONNECT).stdout == ""
            assert first.address not in firewall.listeners()
        add_element(first.address, stale)
        with attacker(fleet) as successor:
            assert successor.address == first.address
            assert firewall.listeners()[successor.address] != stale
            assert successor.tries(FETCH).stdout == "200"
    assert leftovers(fleet) == []


def test_reused_address_late_cleanup_of_previous_job_leaves_successor_untouched(
    fleet: Fleet,
) -> None:
    """It cleans up late, when the address has belonged to another job for a while."""
    fleet.policy(POLICY)
    with outside() as peer, ended(fleet) as first, attacker(fleet) as successor:
        assert successor.address == first.address
        port = firewall.listeners()[successor.address]
        flow = UDP.format(source=5555, send=True, port=peer.port)
        assert successor.tries(flow).stdout == "for the first job\n"
        first.wake()
        assert firewall.listeners()[successor.address] == port
        assert successor.tries(FETCH).stdout == "200"
        still = UDP.format(source=5555, send=False, port=0)
        assert successor.tries(still).stdout == "for the first job\n", "its connections are kept"
    assert leftovers(fleet) == []


def test_address_of_running_container_cannot_be_assigned(fleet: Fleet) -> None:
    fleet.policy(POLICY)
    with attacker(fleet) as sandbox:
        port = firewall.listeners()[sandbox.address]
        thief = Running(id="", name="", pid=os.getpid(), address=sandbox.address, gateway="")
        with pytest.raises(CannotStart, match="in use by the container of job"):
            firewall.assign_address(Path("/run/airlock/jobs/thief"), thief, port + 1)
        assert firewall.listeners()[sandbox.address] == port
        assert sandbox.tries(FETCH).stdout == "200"


def test_inbound_connection_tracked_before_ruleset_is_dropped(fleet: Fleet) -> None:
    """Another program's rule led to the container before the ruleset did; the kernel tracks it."""
    with attacker(fleet):
        pass  # the bridge is there
    docker = ["docker", "-H", fleet.lab.docker]
    container = run(
        *docker, "run", "-d", "--network", "airlock", "--cap-drop", "ALL",
        "--publish", f"{world.HOST}:8099:8099/udp", fleet.lab.image, "python3", "-c", ECHO,
    ).strip()  # fmt: skip
    try:
        with asker() as asks:
            run(*DELETE_RULESET)
            eventually(lambda: asks() == b"pong", "without the ruleset it is a way in")
            firewall.ensure_loaded(Path("/run/airlock"))
            assert asks() == b""
            run(*DELETE_RULESET)
            assert asks() == b"pong", "the same connection, still tracked"
    finally:
        firewall.ensure_loaded(Path("/run/airlock"))
        run(*docker, "rm", "-f", container)


@contextmanager
def asker() -> Iterator[Callable[[], bytes]]:
    """A host in the world that calls the published port, always from the same port."""

    def bound() -> socket.socket:
        ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ours.bind((world.WORLD, 0))
        ours.settimeout(0.5)
        return ours

    with world.inside_world(bound) as ours:

        def asks() -> bytes:
            ours.sendto(b"ping", (world.HOST, 8099))
            try:
                return ours.recv(100)
            except OSError:
                return b""

        yield asks


def add_element(address: str, port: int) -> None:
    element = f"{{ {address} : 169.254.170.2 . {port} }}"
    run("nft", "add", "element", "inet", "airlock", "credentials", element)
