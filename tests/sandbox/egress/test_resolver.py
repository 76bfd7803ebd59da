"""What a job's resolver answers, asks and opens, between a real table and this host's resolver."""

import errno
import os
import socket
import subprocess
import sys
import threading
import time
from ipaddress import IPv4Address
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import pytest

from bootstrap.policy.egress import EgressGrant
from bootstrap.sandbox.egress import messages, resolver, upstream
from bootstrap.sandbox.egress.use import Names
from tests.sandbox.egress.served import JOBS, Client, with_client
from tests.sandbox.network.namespace import shown

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")


def allowed() -> dict[str, int]:
    listed = shown("nft -j list set inet airlock_egress named")["nftables"][1]["set"]
    return {one["elem"]["val"]: one["elem"]["timeout"] for one in listed.get("elem", [])}


def test_an_allowed_name_is_found_and_its_addresses_are_reached() -> None:
    def work(job: Client) -> tuple[Any, ...]:
        found = job.finds("Git.Example.com"), job.finds("www.example.org")
        return *found, allowed(), job.fake.asked

    git, www, passing, asked = with_client(work)
    assert git == ("NOERROR", {"203.0.113.7"})
    assert www == ("NOERROR", {"edge.example.net.", "203.0.113.8", "203.0.113.9"})
    assert passing == {"203.0.113.7": 360, "203.0.113.8": 360, "203.0.113.9": 360}
    assert asked == [("udp", "git.example.com.", "A"), ("udp", "www.example.org.", "A")]


def test_addresses_pass_before_the_job_has_its_answer() -> None:
    """Else its first connection would be refused."""

    def work(job: Client) -> list[str]:
        order: list[str] = []
        allow = job.table.allow

        def slow(*args: Any) -> None:
            threading.Event().wait(0.2)  # a kernel that takes its time
            allow(*args)
            order.append("allowed")

        job.table.allow = slow  # type: ignore[assignment]
        job.finds("git.example.com")
        order.append("answered")
        return order

    assert with_client(work) == ["allowed", "answered"]


def test_the_ttl_is_bounded_and_the_address_stays_longer() -> None:
    def work(job: Client) -> tuple[int, dict[str, int]]:
        return job.asks("long.example.org").answer[0].ttl, allowed()

    assert with_client(work) == (3600, {"203.0.113.10": 3660})


@pytest.mark.parametrize("kind", ["A", "AAAA", "TXT", "ANY", "NULL", "MX", "HTTPS", "PTR"])
def test_another_name_is_not_even_asked_for(kind: str) -> None:
    def work(job: Client) -> tuple[Any, ...]:
        found = job.finds("c2VjcmV0.secret.example", kind)
        return found, job.fake.asked, allowed(), job.resolver.seen.names().refused

    assert with_client(work) == (
        ("NXDOMAIN", set()), [], {}, {"c2VjcmV0.secret.example": 1},
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["AAAA", "TXT", "ANY", "NULL", "HTTPS"])
def test_of_an_allowed_name_only_addresses_are_asked_for(kind: str) -> None:
    def work(job: Client) -> tuple[Any, ...]:
        return job.finds("git.example.com", kind), job.fake.asked

    assert with_client(work) == (("NOERROR", set()), [])


@pytest.mark.parametrize(
    ("name", "why"), [("inside.example.org", "private"), ("metadata.example.org", "reserved")]
)
def test_an_allowed_name_does_not_lead_inside(name: str, why: str) -> None:
    def work(job: Client) -> tuple[Any, ...]:
        return job.finds(name), allowed(), job.resolver.seen.names().leads_astray

    found, passing, astray = with_client(work)
    assert (found, passing) == (("NXDOMAIN", set()), {})
    assert why in astray[name]


def test_nothing_of_the_jobs_message_is_sent_on_but_the_name() -> None:
    def work(job: Client) -> bytes:
        query = dns.message.make_query("git.example.com", "A", want_dnssec=True, id=4711)
        query.flags |= dns.flags.CD | dns.flags.AD
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            channel.settimeout(6)
            channel.connect((JOBS, 53))
            channel.send(query.to_wire() + b"secret")
            channel.recv(4096)
        return job.fake.wires[0]

    wire = with_client(work)
    assert wire[2:] == messages.question_for("git.example.com", 0)[2:]
    assert wire[:2] != (4711).to_bytes(2, "big")


@pytest.mark.parametrize("spoil", ["id", "question", "garbage"])
def test_a_forged_answer_is_not_taken(spoil: str) -> None:
    """The true one comes after it."""

    def forged(wire: bytes) -> list[bytes]:
        changed = {
            "id": bytes([wire[0] ^ 1]) + wire[1:],
            "question": wire,
            "garbage": bytes([wire[0] ^ 1]) + wire[1:6],
        }[spoil].replace(bytes([203, 0, 113, 7]), bytes([198, 51, 100, 66]))
        if spoil == "question":
            changed = changed.replace(b"\3git", b"\3got")
        return [changed, wire]

    def work(job: Client) -> tuple[Any, ...]:
        job.fake.spoiled = forged
        return job.finds("git.example.com"), allowed()

    found, passing = with_client(work)
    if spoil == "question":  # with the right number: it is the answer, and useless
        assert (found, passing) == (("SERVFAIL", set()), {})
    else:
        assert (found, set(passing)) == (("NOERROR", {"203.0.113.7"}), {"203.0.113.7"})


def test_a_truncated_answer_is_asked_for_over_tcp() -> None:
    def work(job: Client) -> tuple[Any, ...]:
        job.fake.spoiled = lambda wire: [wire[:2] + bytes([wire[2] | 2]) + wire[3:]]
        return job.finds("git.example.com"), job.fake.asked

    found, asked = with_client(work)
    assert found == ("NOERROR", {"203.0.113.7"})
    assert [over for over, _, _ in asked] == ["udp", "tcp"]


def test_a_silent_resolver_is_a_failure_that_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "PATIENCE", 0.1)

    def work(job: Client) -> tuple[Any, ...]:
        job.fake.spoiled = lambda _: []
        return job.finds("git.example.com"), len(job.fake.asked), job.resolver.seen.names()

    found, times, names = with_client(work)
    assert found == ("SERVFAIL", set())
    assert times == upstream.ROUNDS
    assert names.unanswered == 1
    assert names.why == "no resolver of this host answered: timed out"


def codes_over_tcp(_: Client) -> list[str]:
    codes = []
    with socket.create_connection((JOBS, 53), timeout=6) as channel:
        for name in ("git.example.com", "secret.example"):
            wire = dns.message.make_query(name, "A").to_wire()
            channel.sendall(upstream.framed(wire))
            reply = upstream.message_of(channel, time.monotonic() + 6)
            codes.append(dns.rcode.to_text(dns.message.from_wire(reply).rcode()))
    return codes


def test_queries_over_tcp_are_answered_alike() -> None:
    assert with_client(codes_over_tcp) == ["NOERROR", "NXDOMAIN"]


def test_a_client_for_whom_there_is_no_descriptor_stops_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accept, refused = socket.socket.accept, [errno.EMFILE, errno.ECONNABORTED]

    def scarce(listener: socket.socket) -> tuple[socket.socket, Any]:
        if refused:
            raise OSError(refused.pop(), "refused")
        return accept(listener)

    def work(job: Client) -> list[str]:
        monkeypatch.setattr(socket.socket, "accept", scarce)
        return [*codes_over_tcp(job), job.finds("git.example.com")[0]]

    assert with_client(work) == ["NOERROR", "NXDOMAIN", "NOERROR"]
    assert not refused


def test_idle_streams_keep_nobody_waiting() -> None:
    def work(job: Client) -> tuple[str, set[str]]:
        held = [socket.create_connection((JOBS, 53)) for _ in range(40)]
        found = job.finds("git.example.com")
        for one in held:
            one.close()
        return found

    assert with_client(work) == ("NOERROR", {"203.0.113.7"})


FLOOD = f"""
import socket
channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
channel.connect(("{JOBS}", 53))
while True:
    channel.send({dns.message.make_query("secret.example", "A").to_wire()!r})
"""


def test_refusals_are_limited_in_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job has its limits of processor time, and what answers it does not have the job's."""
    monkeypatch.setattr(resolver, "PER_SECOND", 20.0)
    monkeypatch.setattr(resolver, "BURST", 50.0)

    def work(job: Client) -> tuple[float, Names]:
        before = time.process_time()
        subprocess.run(["timeout", "2", sys.executable, "-c", FLOOD], check=False)
        return time.process_time() - before, job.resolver.seen.names()

    took, names = with_client(work)
    assert 20 < names.refused["secret.example"] < 200
    assert 0 < names.over_limit < 50
    assert took < 0.5


def test_a_flood_is_limited_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "PATIENCE", 0.2)

    def work(job: Client) -> tuple[int, int]:
        job.fake.spoiled = lambda _: []  # so that lookups take long
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            channel.connect((JOBS, 53))
            for number in range(5000):
                name = f"n{number}.{'example.org' if number % 2 else 'secret.example'}"
                channel.send(dns.message.make_query(name, "A").to_wire())
                if number % 20 == 0:
                    threading.Event().wait(0.002)  # the socket's buffer is finite
            deadline = time.monotonic() + 5
            while not job.resolver.seen.names().over_limit and time.monotonic() < deadline:
                threading.Event().wait(0.01)
        names = job.resolver.seen.names()
        return names.over_limit, len(job.fake.asked)

    over, asked = with_client(work)
    assert over > 0
    assert asked < 1000


def test_it_closes_at_once_whatever_is_under_way() -> None:
    def work(job: Client) -> float:
        job.fake.spoiled = lambda _: []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            channel.connect((JOBS, 53))
            channel.send(dns.message.make_query("git.example.com", "A").to_wire())
            before = time.monotonic()
            job.resolver.close()
            return time.monotonic() - before

    assert with_client(work) < 1.0


def test_observing_answers_everything_and_notes_it() -> None:
    def work(job: Client) -> tuple[Any, ...]:
        job.fake.zone["secret.example."] = ["60 A 203.0.113.66", '60 TXT "a"']
        found = job.finds("secret.example"), job.finds("secret.example", "TXT")
        return *found, job.finds("metadata.example.org"), job.resolver.seen.names()

    secret, text, metadata, names = with_client(work, EgressGrant(observe=True))
    assert secret == ("NOERROR", {"203.0.113.66"})
    assert text == ("NOERROR", {'"a"'})
    assert metadata == ("NOERROR", {"169.254.169.254"})
    assert names.addresses["secret.example"] == {IPv4Address("203.0.113.66")}
    assert not names.refused
