"""Attempts of the proof against a network of the test's own: what counts as refused, and how soon.

What they find in a real sandbox is in tests/attacks/test_promise_3_sealed.py.
"""

import os
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from bootstrap.sandbox import proof
from bootstrap.sandbox.proof import Attempt, Probe
from tests.sandbox.network.namespace import in_a_new_namespace, run

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")

HOME = "127.0.0.1"
RULES = """
table inet test {
    chain refuse {
        type filter hook output priority 0;
        udp dport 9 drop
        tcp dport 9 drop
        udp dport 10 reject with icmpx admin-prohibited
        tcp dport 10 reject with tcp reset
    }
    chain lost {
        type filter hook input priority 0;
        udp dport 11 drop
        tcp dport 11 drop
    }
}
"""


def made(
    *attempts: Attempt, refusals: Callable[[], int] = lambda: 0
) -> tuple[list[Probe], int, float]:
    """Make attempts in a network namespace with servers; return how many seconds it took too."""

    def work() -> tuple[list[Probe], int, float]:
        run("nft -f -", RULES)
        with ExitStack() as held:
            held.enter_context(socket.create_server((HOME, 80)))
            silent = held.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            silent.bind((HOME, 80))
            for attempt in attempts:
                if opened := attempt.open():
                    held.enter_context(opened)
            began = time.monotonic()
            counted = proof.make(attempts, refusals)
            return [one.probe() for one in attempts], counted, time.monotonic() - began

    return in_a_new_namespace(work)


@pytest.mark.parametrize(
    ("protocol", "address", "port", "outcome", "passed"),
    [
        ("tcp", HOME, 80, "reached", False),
        ("tcp", HOME, 10, "ECONNREFUSED", True),
        ("tcp", HOME, 11, "no answer", False),
        ("udp", HOME, 80, "no answer", True),
        ("udp", HOME, 81, "ECONNREFUSED", False),  # nothing listens there: not our refusal
        ("udp", HOME, 11, "no answer", True),
        ("udp", "192.0.2.1", 53, "ENETUNREACH", False),
        ("tcp", "192.0.2.1", 80, "ENETUNREACH", False),
    ],
)
def test_outcome_of_one_attempt(
    protocol: str,
    address: str,
    port: int,
    outcome: str,
    passed: bool,  # noqa: FBT001
) -> None:
    (probe,), _, _ = made(Attempt(protocol, address, port))
    assert (probe.outcome, probe.passed) == (outcome, passed)
    assert probe.target == f"{protocol}://{address}:{port}"


def test_datagram_that_is_answered_was_not_refused() -> None:
    def work() -> Probe:
        with socket.socket(type=socket.SOCK_DGRAM) as server:
            server.bind((HOME, 53))
            attempt = Attempt("udp", HOME, 53)
            with attempt.open() or ExitStack():
                attempt.send()
                _, client = server.recvfrom(64)
                server.sendto(b"answer", client)
                attempt.read()
                return attempt.probe()

    probe = in_a_new_namespace(work)
    assert (probe.outcome, probe.passed) == ("reached", False)


def test_silence_is_waited_for_unless_the_table_has_counted_all_datagrams() -> None:
    silent = (Attempt("udp", HOME, 80), Attempt("udp", HOME, 11))
    _, counted, waited = made(*silent, refusals=iter([0, *[1] * 1000]).__next__)
    assert counted == 1
    assert waited >= proof.PATIENCE_UDP
    silent = (Attempt("udp", HOME, 80), Attempt("udp", HOME, 11))
    probes, counted, shorter = made(*silent, refusals=iter([7, 9, 9]).__next__)
    assert [probe.outcome for probe in probes] == ["no answer", "no answer"]
    assert counted == 2
    assert shorter < proof.PATIENCE_UDP


def test_attempts_do_not_wait_for_each_other() -> None:
    lost = [Attempt("tcp", HOME, 11) for _ in range(5)]
    probes, _, waited = made(*lost, Attempt("tcp", HOME, 10))
    assert [probe.outcome for probe in probes] == ["no answer"] * 5 + ["ECONNREFUSED"]
    assert waited < 2 * proof.PATIENCE


def test_datagram_that_is_refused_inside_is_refused_at_once() -> None:
    accepted = proof.REFUSED_INSIDE
    attempts = [Attempt(protocol, HOME, 10, accepted[protocol]) for protocol in ("tcp", "udp")]
    dropped = Attempt("udp", HOME, 9, accepted["udp"])
    (tcp, udp, lost), _, _ = made(*attempts, dropped)
    assert (tcp.outcome, tcp.passed) == ("ECONNREFUSED", True)
    assert (udp.passed, lost.outcome, lost.passed) == (udp.outcome == "EPERM", "EPERM", True)


def test_all_targets_are_tried_with_and_without_listener() -> None:
    with_listener = list(proof.attempts_for("198.18.240.1", listener=True))
    without = list(proof.attempts_for("198.18.240.1", listener=False))
    targets = [one.probe().target for one in without if one.is_counted]
    assert targets == [
        "tcp://169.254.169.254:80", "tcp://169.254.169.254:443", "udp://169.254.169.254:53",
        "tcp://169.254.170.2:8080", "tcp://198.18.240.1:22", "udp://198.18.240.1:53",
        "tcp://169.254.170.2:80",
    ]  # fmt: skip
    assert [one.probe().target for one in with_listener if one.is_counted] == targets[:-1]
    assert [one.probe().target for one in without if not one.is_counted] == [
        "tcp://[fd00:ec2::254]:80", "udp://[fd00:ec2::254]:80",
        "tcp://127.0.0.11:53", "udp://127.0.0.11:53",
    ]  # fmt: skip
