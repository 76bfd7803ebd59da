"""A job's list, opened in the network namespace of its container, proven, and reported."""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any

import pytest

from bootstrap.errors import CannotStart
from bootstrap.policy.egress import EgressGrant
from bootstrap.sandbox.egress import opening, table
from bootstrap.sandbox.egress.opening import announced, opened_egress, with_endpoint
from bootstrap.sandbox.egress.resolver import Seen
from bootstrap.sandbox.egress.use import Names, Use
from bootstrap.sandbox.model import Running
from bootstrap.sandbox.network.namespaces import in_network_of
from bootstrap.sandbox.network.resolvers import OWN
from tests.fakes.zone import sockets
from tests.sandbox.network.namespace import run

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")

LIST = EgressGrant(hosts=("git.example.com",))


@pytest.fixture
def container() -> Iterator[Running]:
    """A process with a network of its own, whose gateway nobody has."""
    script = (
        "ip link set lo up; ip link add name eth0 type bridge;"
        "ip addr add 198.18.240.2/24 dev eth0;"
        "ip link set eth0 up; ip neigh add 198.18.240.1 lladdr 02:00:00:00:00:01 dev eth0;"
        "ip route add default via 198.18.240.1; echo ready; exec sleep 60"
    )
    command = ["unshare", "--net", "sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        yield Running(
            id="", name="", pid=process.pid, address="198.18.240.2", gateway="198.18.240.1"
        )
        process.kill()


def test_a_resolver_that_is_silent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "PATIENCE", 0.1)
    kind = socket.SOCK_DGRAM
    with socket.socket(type=kind) as silent, socket.socket(type=kind) as client:
        silent.bind((OWN, 0))
        monkeypatch.setattr(opening, "PORT", silent.getsockname()[1])
        began = time.monotonic()
        probe = opening._asked(client, LIST)  # noqa: SLF001 - the last step of the proof
        assert time.monotonic() - began < 5
    assert (probe.outcome, probe.passed) == ("no answer: timed out", False)


@pytest.mark.parametrize("observe", [True, False])
def test_what_a_job_has_reached_is_of_use_while_it_is_observed(observe: bool) -> None:  # noqa: FBT001
    address = IPv4Address("203.0.113.7")
    loaded: Any = SimpleNamespace(refused=dict, reached=lambda: frozenset({address}))
    resolver: Any = SimpleNamespace(seen=Seen())
    found = opening._use(EgressGrant(observe=observe), resolver, loaded)  # noqa: SLF001
    assert found is not None
    assert found.reached == ({address} if observe else set())


def inside(running: Running, command: str) -> str:
    return in_network_of(running.pid, lambda: run(command))


@needs_root
@pytest.mark.parametrize("grant", [LIST, EgressGrant(), EgressGrant(cidrs=("192.0.0.0/16",))])
def test_a_list_is_proven_and_ends_with_its_job(container: Running, grant: EgressGrant) -> None:
    uses: list[Use | None] = []
    with opened_egress(grant, container, [], uses.append) as limited:
        probes = {probe.target: (probe.outcome, probe.passed) for probe in limited.prove()}
    assert probes == {
        "tcp://192.0.2.1:443": ("ECONNREFUSED", True),
        "udp://192.0.2.1:443": ("EPERM", True),
        "tcp://192.0.2.1:853": ("ECONNREFUSED", True),
        "udp://192.0.2.1:53": ("EPERM", True),
        "refusals counted by table inet airlock_egress": ("4 of 4", True),
        "the job's resolver: airlock.invalid": ("NXDOMAIN", True),
    }
    (use,) = uses
    assert use == Use(observe=False, names=Names(), targets={})
    for made in in_network_of(container.pid, lambda: sockets("127.0.0.53")):
        made.close()  # nobody has the resolver's port any more


@needs_root
def test_a_list_that_does_not_hold_is_not_proven(container: Running) -> None:
    """Each part of the proof finds what it is there for."""

    def failed(change: str) -> set[str]:
        with opened_egress(LIST, container, [], lambda _: None) as limited:
            inside(container, change)
            failed = {probe.target for probe in limited.prove() if not probe.passed}
        inside(container, "nft delete table inet airlock_egress")
        return failed

    first = "insert rule inet airlock_egress leaving"
    assert failed(f"nft {first} ip daddr 192.0.2.1 tcp dport 443 accept") == {
        "tcp://192.0.2.1:443", "refusals counted by table inet airlock_egress",
    }  # fmt: skip
    assert failed(f"nft {first} udp dport 53 oifname eth0 accept") == {
        "udp://192.0.2.1:53", "refusals counted by table inet airlock_egress",
    }  # fmt: skip
    # Refused, but by another rule: for instance because the host is offline.
    assert failed(f"nft {first} ip daddr 192.0.2.1 tcp dport 853 reject with tcp reset") == {
        "refusals counted by table inet airlock_egress"
    }
    assert failed(f"nft {first} udp dport 53 ip daddr 127.0.0.53 drop") == {
        "the job's resolver: airlock.invalid"
    }


def outcome(kind: int) -> str:
    """Send to the gateway, from inside."""
    with socket.socket(socket.AF_INET, kind) as client:
        client.settimeout(0.3)
        try:
            client.connect(("198.18.240.1", 30080))
            client.send(b"x")
        except OSError as refused:
            return type(refused).__name__
        return "sent"


@needs_root
@pytest.mark.parametrize(
    ("grant", "after"),
    [
        (LIST, ["ConnectionRefusedError", "PermissionError"]),
        (EgressGrant(private=("198.18.0.0/15",)), ["ConnectionRefusedError", "PermissionError"]),
        (EgressGrant(observe=True), ["TimeoutError", "sent"]),
    ],
)
def test_the_gateway_is_reached_by_the_proof_alone(
    container: Running, grant: EgressGrant, after: list[str]
) -> None:
    """The host may lead a port of its own elsewhere (DNAT), before its ruleset looks at it."""

    def outcomes() -> list[str]:
        kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM)
        return in_network_of(container.pid, lambda: [outcome(kind) for kind in kinds])

    uses: list[Use | None] = []
    with opened_egress(grant, container, [], uses.append) as limited:
        assert outcomes() == ["TimeoutError", "sent"]
        assert all(probe.passed for probe in limited.prove())
        assert outcomes() == after
    (use,) = uses
    assert use is not None
    assert use.observe or not use.targets, "nothing that a list should have"


@needs_root
def test_observing_is_proven_to_answer(container: Running) -> None:
    with opened_egress(EgressGrant(observe=True), container, [], lambda _: None) as limited:
        probes = limited.prove()
    assert all(probe.passed for probe in probes)
    assert probes[-1].outcome == "NOTIMP"


@needs_root
def test_a_taken_port_ends_the_job_before_it_starts(container: Running) -> None:
    def taken() -> socket.socket:
        return socket.create_server(("127.0.0.53", 53))

    with (
        in_network_of(container.pid, taken),
        pytest.raises(CannotStart, match="resolver cannot be opened"),
        opened_egress(LIST, container, [], lambda _: None),
    ):
        pass


@needs_root
def test_without_threads_the_job_ends_before_it_starts(
    container: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(thread: threading.Thread) -> None:
        if thread.name == "egress":
            raise RuntimeError("can't start new thread")
        start(thread)

    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", fails)
    with (
        pytest.raises(CannotStart, match="resolver cannot be started: can't start new thread"),
        opened_egress(LIST, container, [], lambda _: None),
    ):
        pass


@needs_root
def test_a_table_that_cannot_be_read_is_an_unknown_use(container: Running) -> None:
    uses: list[Use | None] = []
    with opened_egress(LIST, container, [], uses.append) as limited:
        limited.table.close()
    assert uses == [None]


@needs_root
def test_what_was_refused_is_known_when_the_container_has_ended(container: Running) -> None:
    uses: list[Use | None] = []

    def refused() -> None:
        with socket.socket() as client, pytest.raises(ConnectionRefusedError):
            client.connect(("203.0.113.7", 443))

    with opened_egress(LIST, container, [], uses.append):
        in_network_of(container.pid, refused)
        subprocess.run(["kill", "-9", str(container.pid)], check=True)
        os.waitid(os.P_PID, container.pid, os.WEXITED | os.WNOWAIT)
    (use,) = uses
    assert use is not None
    assert [table.PROTOCOLS[6], 443] == [*next(iter(use.targets))[1:]]
    assert use.refusals == 1


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("https://agent.buildkite.com/v3", EgressGrant(hosts=("agent.buildkite.com",))),
        ("https://Agent.example:8443", EgressGrant(hosts=("agent.example",))),
        ("http://10.77.0.2:1234/", EgressGrant(private=("10.77.0.2/32",))),
        ("http://203.0.113.7/", EgressGrant(cidrs=("203.0.113.7/32",))),
        ("", EgressGrant()),
    ],
)
def test_a_job_without_a_gateway_reaches_the_agent_api(
    endpoint: str, expected: EgressGrant
) -> None:
    assert with_endpoint(EgressGrant(), endpoint) == expected


@pytest.mark.parametrize(
    "grant",
    [
        EgressGrant(observe=True),
        EgressGrant(hosts=("agent.example",)),
        EgressGrant(hosts=("*.example",)),
    ],
)
def test_what_reaches_the_agent_api_already_stays_as_it_is(grant: EgressGrant) -> None:
    assert with_endpoint(grant, "https://Agent.example/v3") == grant


@pytest.mark.parametrize(
    ("grant", "words"),
    [
        (EgressGrant(), "and no other host: nothing"),
        (EgressGrant(hosts=("a.example",), cidrs=("203.0.113.0/24",), private=("10.0.0.1/32",)),
         "and no other host: a.example, 203.0.113.0/24, 10.0.0.1/32"),
        (EgressGrant(observe=True), "the job reaches everything"),
    ],
)  # fmt: skip
def test_the_log_begins_with_what_the_job_reaches(grant: EgressGrant, words: str) -> None:
    assert words in announced(grant)
