"""Refusals, bodies and workers, each by itself: what they bound."""

import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.agent_api import refusals as module
from bootstrap.agent_api.connection import REQUESTS, Connection
from bootstrap.agent_api.model import Answer, RefusedCall, json_answer
from bootstrap.agent_api.pending import Pending
from bootstrap.agent_api.refusals import MOST, Refusals
from bootstrap.agent_api.request import Request
from bootstrap.agent_api.spool import IN_MEMORY, Body, FullError, Spool, Storage
from bootstrap.agent_api.workers import Workers
from tests.agent_api.served import is_harmless
from tests.lab.engine import eventually


def test_a_call_that_repeats_is_reported_once_and_counted() -> None:
    reported: list[RefusedCall] = []
    refusals = Refusals(reported.append)
    for number in range(3 * MOST):
        for _ in range(2):
            if refusals.add("GET", ("jobs", str(number)), "no"):
                refusals.flush()
    refusals.close()
    assert len(reported) == MOST + 1
    assert reported[-1].why == f"{5 * MOST} more refused calls are not listed"


def test_what_was_not_flushed_is_reported_at_the_end() -> None:
    reported: list[RefusedCall] = []
    refusals = Refusals(reported.append)
    assert refusals.add("GET", ("a",), "no")
    assert not refusals.add("GET", ("a",), "no")
    refusals.close()
    assert [call.path for call in reported] == ["/a", ""]


@given(st.text(), st.lists(st.text()), st.text())
def test_reports_are_short_and_harmless(method: str, path: list[str], why: str) -> None:
    reported: list[RefusedCall] = []
    refusals = Refusals(reported.append)
    refusals.add(method, tuple(path), why)
    refusals.close()
    (call,) = reported
    assert is_harmless(call.method + call.path + call.why)
    assert max(map(len, (call.method, call.path, call.why))) <= module.LIMIT


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_body_keeps_its_bytes_and_counts_them(tmp_path: Path, *, on_disk: bool) -> None:
    directory = tmp_path if on_disk else None
    spool = Spool(Storage(directory=directory, total=IN_MEMORY + 100))
    body = spool.body()
    for _ in range(2):
        body.append(b"x" * (IN_MEMORY // 2))
    body.append(b"y" * 100)
    with pytest.raises(FullError):
        body.append(b"z")
    assert body.opened().read() == b"x" * IN_MEMORY + b"y" * 100
    assert (body.opened().fileno() > 0) if on_disk else True
    assert list(tmp_path.iterdir()) == []  # the file has no name
    body.close()
    body.close()
    with pytest.raises(ValueError, match="closed"):
        body.append(b"z")
    spool.add(IN_MEMORY + 100)


def blocked(gate: threading.Event, done: list[int], number: int) -> Callable[[], None]:
    def work() -> None:
        gate.wait(10)
        done.append(number)

    return work


def test_workers_keep_their_number_and_their_order() -> None:
    gate, done = threading.Event(), list[int]()
    workers = Workers(1, waiting=9, name="test")
    for number in range(5):
        workers.run(blocked(gate, done, number))
    assert not workers.close(0.0)
    gate.set()
    assert workers.close(5)
    workers.run(blocked(gate, done, 9))
    assert done == [0]


def test_work_that_is_not_begun_any_more_is_answered_for() -> None:
    """Else what it would have closed stays open."""
    gate, done = threading.Event(), list[int]()
    workers = Workers(1, waiting=9, name="test")
    for number in range(3):
        instead = partial(done.append, -number)
        workers.run(blocked(gate, done, number), instead=instead)
    workers.close(0.0)
    workers.run(blocked(gate, done, 3), instead=partial(done.append, -3))
    gate.set()
    eventually(lambda: sorted(done) == [-3, -2, -1, 0], "one is done, and three are answered for")


def test_waiting_work_is_done_when_a_thread_is_free() -> None:
    gate, done = threading.Event(), list[int]()
    workers = Workers(2, waiting=18, name="test")
    for number in range(20):
        workers.run(blocked(gate, done, number))
    gate.set()
    eventually(lambda: len(done) == 20, "all are done")
    assert workers.close(5)


def test_an_answer_that_nobody_wants_is_closed() -> None:
    closed: list[str] = []
    late = Pending()
    late.abandon()
    late.finish(Answer(closing=lambda: closed.append("late")))
    early = Pending()
    early.finish(Answer(closing=lambda: closed.append("early")))
    early.abandon()
    assert closed == ["late", "early"]


class Accepting:
    """A gate through which all calls pass, to be answered at once."""

    def __init__(self) -> None:
        self.spool = Spool(Storage(directory=None, total=100_000))

    def refused(self, request: Request) -> Answer | None:
        del request
        return None

    def unwritten(self, request: Request, failed: OSError) -> Answer:
        pytest.fail(f"the body of {'/'.join(request.path)} could not be kept: {failed}")

    def begin(self, request: Request, body: Body) -> Pending:
        pending = Pending()
        pending.finish(json_answer({"length": request.length, "got": body.size}))
        body.close()
        return pending

    def make_space(self, wanted_by: Connection) -> bool:
        del wanted_by
        return False

    def forget(self, connection: Connection) -> None:
        """There is nothing to forget."""


class Refusing:
    """A gate through which no call passes."""

    def __init__(self) -> None:
        self.spool = Spool(Storage(directory=None, total=0))
        self.refusals = 0

    def refused(self, request: Request) -> Answer | None:
        del request
        self.refusals += 1
        return json_answer({}, 403)

    def unwritten(self, request: Request, failed: OSError) -> Answer:
        pytest.fail(f"the body of {'/'.join(request.path)}, a refused call, was kept: {failed}")

    def begin(self, request: Request, body: Body) -> Pending:
        pytest.fail(
            f"{'/'.join(request.path)} was begun, with {body.size} bytes: it had been refused"
        )

    def make_space(self, wanted_by: Connection) -> bool:
        del wanted_by
        pytest.fail("memory was asked for, for the body of a call that had been refused")

    def forget(self, connection: Connection) -> None:
        """There is nothing to forget."""


PIECES = st.sampled_from([
    b"GET /jobs HTTP/1.1\r\n", b"POST /a/b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n",
    b"\r\n", b"\r\n\r\n", b"Host: a\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 9\r\n", b"abc", b"Expect: 100-continue\r\n", b"Connection: close\r\n",
    b"x" * 20_000,
    b"\x00\xff", b"HTTP/1.0 200 OK\r\n\r\n",
])  # fmt: skip


@given(pieces=st.lists(PIECES | st.binary(max_size=20), max_size=15), accepts=st.booleans())
def test_no_bytes_of_a_client_end_the_server(pieces: list[bytes], *, accepts: bool) -> None:
    """Whatever else than an OSError a connection raised would end the server's thread."""
    near, far = socket.socketpair()
    near.settimeout(0)
    far.settimeout(0)
    gate = Accepting() if accepts else Refusing()
    connection = Connection(near, gate)
    with suppress(OSError):
        for piece in pieces:
            far.send(piece)
            with suppress(BlockingIOError):
                connection.advance()
            assert connection.waits_for()[0].fileno() >= 0
    connection.close()
    far.close()
    assert gate.spool.kept == 0


def test_a_connection_begins_few_requests_in_one_turn_and_goes_on_later() -> None:
    near, far = socket.socketpair()
    near.settimeout(0)
    gate = Refusing()
    connection = Connection(near, gate)
    far.sendall(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n" * 20)
    begun: list[int] = []
    for _ in range(3):
        assert connection.waits_for()[1] == (
            selectors.EVENT_WRITE if begun else selectors.EVENT_READ
        )
        with suppress(BlockingIOError):
            connection.advance()
        begun.append(gate.refusals)
    assert begun == [REQUESTS, 2 * REQUESTS, 20]
    assert connection.waits_for()[1] == selectors.EVENT_READ
    connection.close()
    far.close()


def test_an_answer_is_taken_once_it_is_there() -> None:
    pending = Pending()
    with pytest.raises(BlockingIOError):
        pending.done.recv(1)
    pending.finish(json_answer({"a": 1}))
    assert pending.done.recv(1) == b""
    assert pending.taken().body == b'{"a": 1}'
