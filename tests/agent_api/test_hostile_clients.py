"""Clients that a job can write: slow, huge, pipelined, ambiguous. Another client goes on."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bootstrap.agent_api import connection
from bootstrap.agent_api.model import Answer, Call, RefusedCall, json_answer
from bootstrap.agent_api.routes import Route
from bootstrap.agent_api.serve import MAX_CALLS, MAX_CONNECTIONS
from bootstrap.agent_api.spool import Spool, Storage
from tests.agent_api.served import PLACEHOLDER, Served, offline, served_by
from tests.lab.engine import eventually

GET = "POST /jobs/{job}/data/{verb} HTTP/1.1\r\nHost: a\r\nAuthorization: Token {token}\r\n"


@pytest.fixture
def replay(tmp_path: Path) -> Iterator[Served]:
    with offline(tmp_path) as served:
        yield served


def request(
    served: Served, verb: str = "keys", *, token: str = PLACEHOLDER, more: str = ""
) -> bytes:
    head = GET.format(job=served.own.job, verb=verb, token=token)
    return f"{head}{more}\r\n".encode()


def everything(client: socket.socket) -> bytes:
    received = b""
    while chunk := client.recv(65536):
        received += chunk
    return received


def sent(served: Served, content: bytes) -> bytes:
    """Send bytes, and return all that comes until the server closes."""
    with served.dial() as client:
        client.sendall(content)
        client.shutdown(socket.SHUT_WR)
        return everything(client)


def answers_others(served: Served) -> bool:
    started = time.monotonic()
    status, _ = served.job_call("POST", "data/keys")
    return status == 200 and time.monotonic() - started < 10  # less than slow clients may take


def test_requests_in_one_packet_are_answered_in_their_order(replay: Served) -> None:
    document = b'{"key": "a"}'
    exists = request(replay, "exists", more=f"Content-Length: {len(document)}\r\n") + document
    last = request(replay, more="Connection: close\r\n")
    with replay.dial() as client:
        client.sendall(request(replay) + exists + request(replay, "nothing") + last)
        received = everything(client)
    statuses = [answer[:3] for answer in received.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"200", b"404", b"200"]
    assert received.index(b"[]") < received.index(b'{"exists": false}')


@pytest.mark.parametrize(
    "more",
    ["Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\n",
     "Content-Length: 5\r\nContent-Length: 6\r\n", "Content-Length: 5,5\r\n",
     "Content-Length: -1\r\n", "Transfer-Encoding: xchunked\r\nContent-Length: 4\r\n"],
)  # fmt: skip
def test_no_second_request_hides_in_a_body(replay: Served, more: str) -> None:
    smuggled = request(replay)
    received = sent(replay, request(replay, more=more) + b"0\r\n\r\n" + smuggled)
    assert received.count(b"HTTP/1.1") == 1
    assert received.startswith((b"HTTP/1.1 400", b"HTTP/1.1 411"))
    assert b"Connection: close" in received


def test_a_body_is_not_taken_for_a_request(replay: Served) -> None:
    inner = request(replay, "keys", token="other")
    outer = request(replay, "exists", more=f"Content-Length: {len(inner)}\r\n")
    received = sent(replay, outer + inner + request(replay, more="Connection: close\r\n"))
    assert [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]] == [b"400", b"200"]


def test_a_flood_of_requests_on_every_connection_delays_others_little(replay: Served) -> None:
    flood = request(replay, "nothing") * 100
    clients = [replay.dial() for _ in range(MAX_CONNECTIONS - 2)]
    for client in clients:
        client.settimeout(0)
        with suppress(BlockingIOError):
            client.send(flood)
    assert answers_others(replay)
    clients[0].settimeout(10)
    received = b""
    while received.count(b"HTTP/1.1 404") < 100:
        received += clients[0].recv(65536)
    for client in clients:
        client.close()


def test_headers_without_end_are_refused(replay: Served) -> None:
    received = sent(replay, request(replay)[:-2] + b"X: " + b"y" * 20_000)
    assert received.startswith(b"HTTP/1.1 431")


def test_a_body_beyond_the_limit_is_refused_before_it_is_sent(replay: Served) -> None:
    with replay.dial() as client:
        client.sendall(request(replay, "set", more="Content-Length: 99999999999\r\n"))
        assert client.recv(12) == b"HTTP/1.1 413"
    assert answers_others(replay)


def test_one_who_waits_for_100_is_asked_for_the_body(replay: Served) -> None:
    document = b'{"key": "a", "value": "b"}'
    more = f"Content-Length: {len(document)}\r\nExpect: 100-continue\r\nConnection: close\r\n"
    with replay.dial() as client:
        client.sendall(request(replay, "set", more=more))
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(document)
        assert everything(client).startswith(b"HTTP/1.1 200")


def test_clients_that_send_nothing_do_not_keep_others_out(replay: Served) -> None:
    idle = [replay.dial() for _ in range(2 * MAX_CONNECTIONS)]
    assert answers_others(replay)
    for client in idle:
        client.close()


def test_clients_that_send_bodies_slowly_do_not_keep_others_out(replay: Served) -> None:
    slow = [replay.dial() for _ in range(2 * MAX_CONNECTIONS)]
    for client in slow:
        client.sendall(request(replay, "set", more="Content-Length: 1000000\r\n") + b"{")
    assert answers_others(replay)
    for client in slow:
        client.close()


def test_clients_that_read_no_answer_do_not_keep_others_out(tmp_path: Path) -> None:
    with offline(tmp_path, meta_data={f"key-{n}" * 50: "v" for n in range(3000)}) as replay:
        silent = [replay.dial() for _ in range(MAX_CONNECTIONS - 1)]
        for client in silent:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(request(replay))
        assert answers_others(replay)
        for client in silent:
            client.close()


def test_a_client_slower_than_the_slowest_is_disconnected(
    replay: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "GRACE", 0.2)
    with replay.dial() as client:
        client.sendall(request(replay, "set", more="Content-Length: 100\r\n") + b"{")
        assert everything(client) == b""


class Held:
    """A back end whose calls wait until they may go on."""

    def __init__(self, total: int) -> None:
        self._spool = Spool(Storage(directory=None, total=total))
        self.begun: list[Call] = []
        self.may_end = False

    @property
    def spool(self) -> Spool:
        return self._spool

    def refuses(self, route: Route) -> str:
        del route
        return ""

    def answer(self, call: Call) -> Answer:
        self.begun.append(call)
        if call.route.name != "exists":
            eventually(lambda: self.may_end, "the test lets it end")
        return json_answer({})


def held_call(
    port: int, verb: str = "keys", content: bytes = b"", length: int = 0
) -> socket.socket:
    head = GET.format(job="j", verb=verb, token=PLACEHOLDER)
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    client.sendall(f"{head}Content-Length: {length or len(content)}\r\n\r\n".encode() + content)
    return client


def test_calls_beyond_the_limit_wait_for_their_turn() -> None:
    held, refused = Held(1 << 20), list[RefusedCall]()
    with served_by(held, job="j", refused=refused) as port:
        clients = [held_call(port) for _ in range(MAX_CALLS + 4)]
        eventually(lambda: len(held.begun) == MAX_CALLS, "as many as may run")
        held.may_end = True
        assert {client.recv(15) for client in clients} == {b"HTTP/1.1 200 OK"}
        for client in clients:
            client.close()


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _is_answered(port: int) -> bool:
    with held_call(port) as client:
        return client.recv(12) == b"HTTP/1.1 200"


def test_calls_of_clients_that_are_gone_take_no_descriptors() -> None:
    """Else a job could keep its own Airlock from opening a file when it ends."""
    held, refused = Held(1 << 20), list[RefusedCall]()
    before = _descriptors()
    with served_by(held, job="j", refused=refused) as port:
        for _ in range(6 * MAX_CONNECTIONS):
            held_call(port).close()
        with held_call(port) as last:
            assert last.recv(12) == b"HTTP/1.1 503"
            assert _descriptors() < before + 4 * MAX_CONNECTIONS
        held.may_end = True
        eventually(lambda: _is_answered(port), "it answers again, when no call waits any more")


def test_call_that_nobody_waits_for_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CALLING", 0.5)
    held, refused = Held(1 << 20), list[RefusedCall]()
    with served_by(held, job="j", refused=refused) as port:
        clients = [held_call(port, content=b"x") for _ in range(MAX_CALLS + 4)]
        assert [client.recv(1) for client in clients] == [b""] * len(clients)
        held.may_end = True
        with held_call(port) as client:
            assert client.recv(15) == b"HTTP/1.1 200 OK"
    assert len(held.begun) == MAX_CALLS + 1
    assert held.spool.kept == 0
    for client in clients:
        client.close()


def test_half_sent_bodies_make_way_for_a_whole_one() -> None:
    held, refused = Held(40_000), list[RefusedCall]()
    with served_by(held, job="j", refused=refused) as port:
        half = [held_call(port, "set", b"x" * 13_000, 14_000) for _ in range(3)]
        eventually(lambda: held.spool.kept == 39_000, "they have arrived")
        with held_call(port, "exists", b"y" * 10_000) as client:
            assert client.recv(15) == b"HTTP/1.1 200 OK"
        assert half[0].recv(1) == b""
        for each in half:
            each.close()
    assert held.spool.kept == 0


def test_as_many_make_way_as_are_needed() -> None:
    held, refused = Held(40_000), list[RefusedCall]()
    with served_by(held, job="j", refused=refused) as port:
        half = [held_call(port, "set", b"x" * 9_000, 10_000) for _ in range(4)]
        eventually(lambda: held.spool.kept == 36_000, "they have arrived")
        with held_call(port, "exists", b"y" * 16_000) as client:
            assert client.recv(15) == b"HTTP/1.1 200 OK"
        assert [half[0].recv(1), half[1].recv(1)] == [b"", b""]
        for each in half:
            each.close()
    assert held.spool.kept == 0


def test_without_space_the_client_is_asked_to_try_again() -> None:
    held, refused = Held(5_000), list[RefusedCall]()
    with served_by(held, job="j", refused=refused) as port:
        with held_call(port, "exists", b"y" * 10_000) as client:
            assert client.recv(12) == b"HTTP/1.1 503"
        assert held.spool.kept == 0


def test_closing_waits_for_no_client_and_ends_all() -> None:
    held, refused = Held(1 << 20), list[RefusedCall]()
    started = time.monotonic()
    with served_by(held, job="j", refused=refused) as port:
        client = held_call(port, "exists", b"{", 5)
        eventually(lambda: held.spool.kept == 1, "it has begun")
    assert time.monotonic() - started < 5
    assert client.recv(1) == b""
    client.close()
