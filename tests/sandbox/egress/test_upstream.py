"""How this host's resolvers are asked: in turn, for so long, and believed only what they answer."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address

import dns.message
import pytest

from bootstrap.policy.egress import EgressGrant
from bootstrap.sandbox.egress import upstream
from bootstrap.sandbox.egress.messages import UselessError
from tests.fakes.zone import FakeDns, serving, sockets
from tests.sandbox.network.namespace import T, in_a_new_namespace

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")

GRANT = EgressGrant(hosts=("git.example.com",))
ZONE = {"git.example.com.": ["30 A 203.0.113.7"]}
FOUND = (IPv4Address("203.0.113.7"),)
NOBODY, ONE, OTHER = "127.0.0.8", "127.0.0.9", "127.0.0.10"
TEXT = dns.message.make_query("git.example.com", "TXT").to_wire()


def asked(*servers: str) -> tuple[IPv4Address, ...]:
    return upstream.ask(servers, "git.example.com", GRANT).addresses


def with_one(work: Callable[[FakeDns], T]) -> T:
    def inside() -> T:
        with serving(ZONE, *sockets(ONE)) as fake:
            return work(fake)

    return in_a_new_namespace(inside)


@contextmanager
def in_pieces(address: str, pieces: Iterator[bytes]) -> Iterator[None]:
    """Answer queries over UDP as truncated, and over TCP with these pieces, one each 0.1 s."""
    datagrams, listener = sockets(address)
    ended = threading.Event()

    def truncated() -> None:
        with suppress(OSError):
            while True:
                wire, peer = datagrams.recvfrom(4096)
                if not wire:  # it is shut down
                    return
                datagrams.sendto(wire[:2] + bytes([wire[2] | 0x82]) + wire[3:], peer)

    def streamed() -> None:
        with suppress(OSError), listener.accept()[0] as stream:
            for piece in pieces:
                stream.sendall(piece)
                if ended.wait(0.1):
                    return

    threads = [threading.Thread(target=work) for work in (truncated, streamed)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for one in (datagrams, listener):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        datagrams.close()
        listener.close()


def test_each_resolver_is_asked_twice_in_turn() -> None:
    def work(fake: FakeDns) -> int:
        fake.spoiled = lambda wire: [wire[:3] + b"\2" + wire[4:]]  # SERVFAIL
        with pytest.raises(UselessError, match="no resolver of this host answered: SERVFAIL"):
            asked(ONE)
        return len(fake.asked)

    assert with_one(work) == 2


@pytest.mark.parametrize("first", [NOBODY, OTHER])
def test_one_that_is_of_no_use_is_followed_by_the_next(first: str) -> None:
    """The first has no program at its port, the second answers SERVFAIL."""

    def work(_: FakeDns) -> tuple[tuple[IPv4Address, ...], bytes | None]:
        with serving(ZONE, *sockets(OTHER)) as useless:
            useless.spoiled = lambda wire: [wire[:3] + b"\2" + wire[4:]]
            return asked(first, ONE), upstream.relay((first, ONE), TEXT, stream=False)

    found, relayed = with_one(work)
    assert found == FOUND
    assert relayed
    assert relayed[:2] == TEXT[:2]


def test_without_a_resolver_there_is_a_reason() -> None:
    with pytest.raises(UselessError, match="this host has no resolver for jobs"):
        asked()
    assert upstream.relay((), TEXT, stream=False) is None


@pytest.mark.parametrize("stream", [False, True])
def test_a_query_is_relayed_as_it_came(stream: bool) -> None:  # noqa: FBT001
    def work(fake: FakeDns) -> list[str]:
        assert upstream.relay((ONE,), TEXT, stream=stream)
        assert fake.wires == [TEXT]
        return [over for over, _, _ in fake.asked]

    assert with_one(work) == ["tcp" if stream else "udp"]


def test_a_resolver_may_have_an_address_of_version_6() -> None:
    def work() -> tuple[IPv4Address, ...]:
        datagrams = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        datagrams.bind(("::1", 53))
        listener = socket.create_server(("::1", 53), family=socket.AF_INET6)
        with serving(ZONE, datagrams, listener):
            return asked("::1")

    assert in_a_new_namespace(work) == FOUND


def test_who_cannot_see_a_question_cannot_guess_its_number() -> None:
    def work(fake: FakeDns) -> set[bytes]:
        for _ in range(8):
            asked(ONE)
        return {wire[:2] for wire in fake.wires}

    assert len(with_one(work)) > 4


def took(work: Callable[[], object]) -> float:
    began = time.monotonic()
    with pytest.raises(UselessError):
        work()
    return time.monotonic() - began


def test_all_resolvers_together_have_one_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "PATIENCE", 0.3)
    monkeypatch.setattr(upstream, "TOGETHER", 0.5)

    def work(fake: FakeDns) -> tuple[float, int]:
        fake.spoiled = lambda _: []
        return took(lambda: asked(*[ONE] * 20)), len(fake.asked)

    seconds, questions = with_one(work)
    assert 0.5 <= seconds < 0.6
    assert questions == 2


def test_datagrams_of_others_do_not_prolong_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "TOGETHER", 0.5)

    def work(fake: FakeDns) -> float:
        def others(wire: bytes) -> Iterator[bytes]:
            for _ in range(30):
                threading.Event().wait(0.1)
                yield bytes([wire[0] ^ 1]) + wire[1:]

        fake.spoiled = others  # type: ignore[assignment]
        return took(lambda: asked(ONE))

    assert 0.5 <= with_one(work) < 1


@pytest.mark.parametrize(
    ("pieces", "least"),
    [
        ([b"\0"] * 30, 0.5),  # a byte at a time
        ([], 0.0),  # it ends before the length
        ([b"\0\x20", b"abc"], 0.0),  # or in the middle
    ],
)
def test_a_stream_ends_when_its_time_is_over(
    monkeypatch: pytest.MonkeyPatch, pieces: list[bytes], least: float
) -> None:
    monkeypatch.setattr(upstream, "TOGETHER", 0.5)

    def work() -> float:
        with in_pieces(ONE, iter(pieces)):
            return took(lambda: asked(ONE))

    assert least <= in_a_new_namespace(work) < 1
