"""What one job takes of its resolver: lookups, streams and time; and that it ends with the job."""

import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Collection
from typing import Any

import dns.message
import pytest

from bootstrap.policy.egress import EgressGrant
from bootstrap.sandbox.egress import resolver, upstream
from bootstrap.sandbox.egress.table import FullError
from tests.lab.engine import eventually
from tests.sandbox.egress.served import JOBS, Client, with_client

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")


def threads(name: str, before: Collection[threading.Thread]) -> int:
    """Count those of this name that earlier tests have not left to end."""
    new = set(threading.enumerate()).difference(before)
    return sum(thread.name.startswith(name) for thread in new)


def sent(names: list[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.connect((JOBS, 53))
        for name in names:
            channel.send(dns.message.make_query(name, "A").to_wire())


def distinct(job: Client) -> int:
    return len({name for _, name, _ in job.fake.asked})


@needs_root
def test_16_lookups_are_asked_and_48_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "PATIENCE", 2.0)

    before = threading.enumerate()

    def work(job: Client) -> tuple[int, int, int]:
        job.fake.spoiled = lambda _: []
        sent([f"n{number}.example.org" for number in range(100)])
        eventually(lambda: job.resolver.seen.names().over_limit >= 36, "the others are refused")
        eventually(lambda: distinct(job) >= 16, "they are asked")
        return job.resolver.seen.names().over_limit, distinct(job), threads("egress lookup", before)

    assert with_client(work) == (36, 16, 16)


@needs_root
def test_a_lookup_that_has_ended_is_followed_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "UNDER_WAY", 2)

    def work(job: Client) -> list[str]:
        return [job.finds(name)[0] for name in ["git.example.com"] * 5 + ["*.x"] * 5]

    assert with_client(work) == ["NOERROR"] * 5 + ["NXDOMAIN"] * 5


@needs_root
def test_4_streams_are_served_4_wait_and_others_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resolver, "IDLE", 60.0)

    before = threading.enumerate()

    def work(_: Client) -> tuple[int, int, list[int]]:
        held = [socket.create_connection((JOBS, 53)) for _ in range(40)]
        is_closed = [closed(one) for one in held]
        answered = [number for number, one in enumerate(held[:8]) if asks(one)]
        found = threads("egress stream", before), is_closed.count(False), answered
        for one in held:
            one.close()
        return found

    assert with_client(work) == (4, 8, [0, 1, 2, 3])


def closed(stream: socket.socket) -> bool:
    """Whether its other end is closed, of one that is sent nothing otherwise."""
    stream.settimeout(0.05)
    try:
        return stream.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True


def asks(stream: socket.socket) -> bool:
    try:
        stream.sendall(upstream.framed(dns.message.make_query("secret.example", "A").to_wire()))
        return bool(upstream.message_of(stream, time.monotonic() + 0.5))
    except OSError:
        return False


@needs_root
@pytest.mark.parametrize("begun", [b"", b"\0", b"\0\x20abc"])
def test_a_stream_without_a_query_is_closed(monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    monkeypatch.setattr(resolver, "IDLE", 0.2)

    def work(_: Client) -> bytes:
        with socket.create_connection((JOBS, 53), timeout=6) as stream:
            stream.send(begun)
            return stream.recv(1)

    assert with_client(work) == b""


@needs_root
def test_a_stream_with_what_gets_no_answer_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "IDLE", 60.0)

    def work(_: Client) -> bytes:
        with socket.create_connection((JOBS, 53), timeout=6) as stream:
            stream.sendall(upstream.framed(b"no query"))
            return stream.recv(1)

    assert with_client(work) == b""


@needs_root
def test_a_stream_is_limited_in_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "PER_SECOND", 0.0)
    monkeypatch.setattr(resolver, "BURST", 5.0)  # of which one is for the connection

    def work(_: Client) -> list[bool]:
        with socket.create_connection((JOBS, 53), timeout=6) as stream:
            return [asks(stream) for _ in range(6)]

    assert with_client(work) == [True] * 4 + [False] * 2


@needs_root
def test_datagrams_and_streams_are_served_in_turn() -> None:
    def work(job: Client) -> list[Any]:
        found: list[Any] = []
        for _ in range(2):
            found.append(job.finds("git.example.com")[0])
            with socket.create_connection((JOBS, 53), timeout=6) as stream:
                found.append(asks(stream))
        return found

    assert with_client(work) == ["NOERROR", True] * 2


@needs_root
def test_streams_that_have_ended_leave_place() -> None:
    def work(_: Client) -> int:
        answered = 0
        for _number in range(20):
            with socket.create_connection((JOBS, 53), timeout=6) as stream:
                answered += asks(stream)
        return answered

    assert with_client(work) == 20


@needs_root
def test_without_threads_nothing_is_answered_and_later_all_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where this host's limit of processes is reached."""
    monkeypatch.setattr(resolver, "UNDER_WAY", 2)

    def none(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    def work(job: Client) -> tuple[list[bool], int, str, bool]:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", none)
            sent(["git.example.com"] * 4)
            eventually(lambda: job.resolver.seen.names().over_limit == 4, "they are counted")
            held = [socket.create_connection((JOBS, 53)) for _ in range(9)]
            found = [closed(one) for one in held]
            for one in held:
                one.close()
        with socket.create_connection((JOBS, 53), timeout=6) as stream:
            answered = asks(stream)
        over = job.resolver.seen.names().over_limit
        return found, over, job.finds("git.example.com")[0], answered

    assert with_client(work) == ([True] * 9, 4, "NOERROR", True)


@needs_root
@pytest.mark.parametrize("failure", [FullError(), OSError(errno.ENOBUFS, "no buffer space")])
def test_a_name_whose_addresses_cannot_pass_is_a_failure(failure: Exception) -> None:
    def work(job: Client) -> tuple[tuple[str, set[str]], int]:
        def refuses(*_: Any) -> None:
            raise failure

        job.table.allow = refuses  # type: ignore[assignment]
        return job.finds("git.example.com"), job.resolver.seen.names().unanswered

    assert with_client(work) == (("SERVFAIL", set()), 1)


@needs_root
def test_an_observed_query_without_an_answer_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "PATIENCE", 0.1)

    def work(job: Client) -> tuple[str, set[str]]:
        job.fake.spoiled = lambda _: []
        return job.finds("git.example.com", "TXT")

    assert with_client(work, EgressGrant(observe=True)) == ("SERVFAIL", set())


@needs_root
def test_a_long_query_is_read_to_its_end() -> None:
    def work(job: Client) -> str:
        return job.finds(".".join(["a" * 50] * 4 + ["example.org"]))[0]

    assert with_client(work, zone={"*": ["60 A 203.0.113.7"]}) == "NOERROR"


@needs_root
def test_nothing_is_asked_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "PATIENCE", 0.2)
    monkeypatch.setattr(resolver, "AT_A_TIME", 2)

    before = threading.enumerate()

    def work(job: Client) -> tuple[float, int, int]:
        job.fake.spoiled = lambda _: []
        with socket.create_connection((JOBS, 53)):
            sent([f"n{number}.example.org" for number in range(20)])
            eventually(lambda: distinct(job) == 2, "two are asked")
            began = time.monotonic()
            job.resolver.close()
            took = time.monotonic() - began
            left = [one.name for one in threading.enumerate() if one.name == "egress"]
            eventually(lambda: not threads("egress lookup", before), "the threads end")
        return took, len(left), distinct(job)

    took, left, asked = with_client(work)
    assert took < 1
    assert (left, asked) == (0, 2)


@needs_root
def test_a_stream_that_waits_is_closed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "IDLE", 1.0)

    before = threading.enumerate()

    def work(job: Client) -> list[bool]:
        held = [socket.create_connection((JOBS, 53)) for _ in range(6)]
        assert [closed(one) for one in held] == [False] * 6
        job.resolver.close()
        found = [closed(one) for one in held]
        eventually(lambda: not threads("egress stream", before), "the others end")
        for one in held:
            one.close()
        return found

    assert with_client(work) == [False] * 4 + [True] * 2


def budget(clock: Callable[[], float]) -> "resolver._Bucket":
    return resolver._Bucket(clock)  # noqa: SLF001 - its clock is not that of a job


def test_a_job_has_200_queries_a_second_and_saves_up_1000() -> None:
    now = 0.0
    bucket = budget(lambda: now)

    def allowed() -> int:
        return sum(bucket.allows() for _ in range(5000))

    assert allowed() == 1000
    assert not bucket.has_more()
    now = 1.0
    assert bucket.has_more()
    assert allowed() == 200
    now = 1000.0
    assert allowed() == 1000
