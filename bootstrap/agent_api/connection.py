"""One client of the agent API: reads requests, has them answered, and writes the answers.

It never waits, so a slow client delays no other. Only whole calls reach a worker, and an answer is
whole before the first byte of it is sent.
"""

import selectors
import socket
import time
from contextlib import suppress
from enum import Enum, auto
from http import HTTPStatus
from typing import Protocol

from bootstrap.agent_api.model import Answer, problem
from bootstrap.agent_api.pending import Pending
from bootstrap.agent_api.request import MAX_HEAD, BadRequestError, Request, parse
from bootstrap.agent_api.response import CONTINUE, head
from bootstrap.agent_api.spool import Body, FullError, Spool

IDLE = 60.0  # seconds from one answer to the end of the next request's headers
SLOWEST = 1 << 19  # bytes a second, below which a client is disconnected
GRACE = 15.0  # seconds that a client has in any case
CALLING = 150.0  # seconds for a call, beyond what back ends take
LINGER = 2.0  # seconds in which a client may read the last answer before the socket closes
MAX_IGNORED = 8 << 20  # bytes that are read and discarded meanwhile
CHUNK = 1 << 16
TURN = 1 << 18  # bytes, after which other connections are served
REQUESTS = 8  # that are begun in one turn


class _Phase(Enum):
    HEAD = auto()
    BODY = auto()
    CALL = auto()
    SEND = auto()
    LINGER = auto()


class Gate(Protocol):
    """What a connection asks before and after it receives a body. It waits for nothing."""

    @property
    def spool(self) -> Spool:
        """Where the body is kept."""

    def refused(self, request: Request) -> Answer | None:
        """Return a refusal, or None if the body may be received."""

    def unwritten(self, request: Request, failed: OSError) -> Answer:
        """Return the answer to a call whose body cannot be kept."""

    def begin(self, request: Request, body: Body) -> Pending:
        """Begin to answer a whole call. The body is no longer the connection's."""

    def make_space(self, wanted_by: "Connection") -> bool:
        """Disconnect the slow client whose request is oldest; False without one."""

    def forget(self, connection: "Connection") -> None:
        """The connection is closed."""


class Connection:
    """A bootstrap.server.Connection. All methods run in the server's thread."""

    def __init__(self, client: socket.socket, gate: Gate) -> None:
        self._socket = client
        self._gate = gate
        self._received = bytearray()
        self._phase = _Phase.HEAD
        self._request: Request | None = None
        self._body: Body | None = None
        self._pending: Pending | None = None
        self._answer: Answer | None = None
        self._unsent = b""
        self._unread = 0  # bytes of the answer's file
        self._keep = True
        self._turn = 0
        self._requests = 0
        self._is_behind = False  # there may be another request in what was received
        self._ignored = 0
        self.began = time.monotonic()  # the present request, or the wait for it
        self.until = self.began + IDLE

    @property
    def keeps(self) -> bool:
        """Whether it keeps something because its client is slow."""
        return self._body is not None or self._unread > 0

    def precedence(self) -> tuple[bool, float]:
        """Order those whose call is being answered last, and the others by age."""
        return self._phase in {_Phase.CALL, _Phase.SEND}, self.began

    def waits_for(self) -> tuple[socket.socket, int]:
        """Return the socket and the selector's events after which to advance again."""
        if self._pending:
            return self._pending.done, selectors.EVENT_READ
        sends = self._phase is _Phase.SEND or self._is_behind
        return self._socket, selectors.EVENT_WRITE if sends else selectors.EVENT_READ

    def close(self) -> None:
        """Close everything it has; a call that is being answered goes on, for nobody."""
        self._gate.forget(self)
        self._forget()
        self._socket.close()

    def give_up(self) -> None:
        """Free what it needs at once, and be overdue."""
        self._forget()
        self.until = 0.0

    def advance(self) -> None:
        """Do what can be done without waiting, and no more than fits into one turn."""
        self._turn, self._requests, self._is_behind = TURN, REQUESTS, False
        while self._step():
            pass

    def _step(self) -> bool:
        match self._phase:
            case _Phase.HEAD:
                self._is_behind = self._requests <= 0
                return not self._is_behind and (self._take_head() or self._receive())
            case _Phase.BODY:
                return self._take_body() or self._receive()
            case _Phase.CALL:
                return self._take_answer()
            case _Phase.SEND:
                return self._send()
            case _Phase.LINGER:
                return self._ignore()

    def _receive(self) -> bool:
        if self._turn <= 0:
            return False
        chunk = self._socket.recv(CHUNK)
        if not chunk:
            raise ConnectionAbortedError
        self._turn -= len(chunk)
        self._received += chunk
        return True

    def _take_head(self) -> bool:
        end = self._received.find(b"\r\n\r\n", 0, MAX_HEAD + 4)
        if end < 0 and len(self._received) > MAX_HEAD:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            return self._refuse(problem(status, f"more than {MAX_HEAD} bytes of headers"))
        if end < 0:
            return False
        content = bytes(self._received[:end])
        del self._received[: end + 4]
        self._requests -= 1
        try:
            self._request = request = parse(content)
        except BadRequestError as wrong:
            return self._refuse(problem(wrong.status, str(wrong)))
        self.began = time.monotonic()
        refused = self._gate.refused(request)
        if refused:
            return self._refuse(refused, keep=request.keep and not request.length)
        self._keep = request.keep
        self._enter(_Phase.BODY, request.length)
        self._body = self._gate.spool.body()
        if request.expects and not self._received:
            self._ask_for_body()
        return True

    def _ask_for_body(self) -> None:
        try:
            self._socket.send(CONTINUE)
        except BlockingIOError:  # a client that reads nothing
            raise ConnectionAbortedError from None

    def _take_body(self) -> bool:
        if not self._request or not self._body:
            raise ConnectionAbortedError
        missing = self._request.length - self._body.size
        chunk = bytes(self._received[:missing])
        del self._received[: len(chunk)]
        try:
            kept = self._append(self._body, chunk)
        except OSError as failed:
            return self._refuse(self._gate.unwritten(self._request, failed))
        if not kept:
            full = problem(HTTPStatus.SERVICE_UNAVAILABLE, "too much is being sent; try again")
            return self._refuse(full)
        if len(chunk) < missing:
            return False
        body, self._body = self._body, None
        self._enter(_Phase.CALL)
        self._pending = self._gate.begin(self._request, body)
        return True

    def _append(self, body: Body, chunk: bytes) -> bool:
        while True:
            try:
                body.append(chunk)
            except FullError:
                if not self._gate.make_space(self):
                    return False
            else:
                return True

    def _take_answer(self) -> bool:
        if not self._pending:
            raise ConnectionAbortedError
        self._pending.done.recv(1)  # raises BlockingIOError until there is an answer
        answer = self._pending.taken()
        self._pending = None
        self._respond(answer)
        return True

    def _refuse(self, answer: Answer, *, keep: bool = False) -> bool:
        self._forget()
        self._keep = keep
        self._respond(answer)
        return True

    def _respond(self, answer: Answer) -> None:
        self._answer = answer
        self._unsent = head(answer, keep=self._keep)
        self._unread = 0
        if answer.status == HTTPStatus.NO_CONTENT:
            pass  # anything would be taken for the next answer
        elif isinstance(answer.body, bytes):
            self._unsent += answer.body
        else:
            self._unread = answer.size
            self._unsent += self._next_part()
        self._enter(_Phase.SEND, answer.length)

    def _send(self) -> bool:
        while self._unsent or self._read_on():
            if self._turn <= 0:
                return False
            sent = self._socket.send(self._unsent)
            self._turn -= sent
            self._unsent = self._unsent[sent:]
        self._forget()
        if self._keep:
            self._enter(_Phase.HEAD)
        else:
            # Closing with unread input would reset the connection and destroy the last answer.
            self._enter(_Phase.LINGER)
            self._received.clear()
            self._socket.shutdown(socket.SHUT_WR)
        return True

    def _read_on(self) -> bool:
        if self._unread:
            self._unsent = self._next_part()
        return bool(self._unsent)

    def _next_part(self) -> bytes:
        """Read on in the answer's file. One that became shorter ends the connection."""
        if not self._answer or isinstance(self._answer.body, bytes) or not self._unread:
            return b""
        part = self._answer.body.read(min(CHUNK, self._unread))
        if not part:
            raise ConnectionAbortedError
        self._unread -= len(part)
        return part

    def _ignore(self) -> bool:
        if self._turn <= 0:
            return False
        chunk = self._socket.recv(CHUNK)
        self._turn -= len(chunk)
        self._ignored += len(chunk)
        if not chunk or self._ignored > MAX_IGNORED:
            raise ConnectionAbortedError
        return True

    def _enter(self, phase: _Phase, size: int = 0) -> None:
        self._phase = phase
        now = time.monotonic()
        match phase:
            case _Phase.HEAD:
                self.began, self.until = now, now + IDLE
            case _Phase.BODY | _Phase.SEND:
                self.until = now + GRACE + size / SLOWEST
            case _Phase.CALL:
                self.until = now + CALLING
            case _Phase.LINGER:
                self.until = now + LINGER

    def _forget(self) -> None:
        """Free what the present request needs."""
        if self._body:
            self._body.close()
        if self._pending:
            self._pending.abandon()
        if self._answer:
            with suppress(OSError):
                self._answer.closing()
        self._request = self._body = self._pending = self._answer = None
        self._unread = 0
