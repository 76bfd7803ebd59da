"""The server of the agent API: who may call, what is a call at all, and for which job.

What it serves: docs/agent-api.md
"""

import hmac
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import cast

from bootstrap.agent_api import routes
from bootstrap.agent_api.connection import Connection
from bootstrap.agent_api.model import (
    Answer,
    Backend,
    Call,
    MalformedError,
    RefusedCall,
    problem,
    refusal,
)
from bootstrap.agent_api.pending import Pending
from bootstrap.agent_api.refusals import Refusals
from bootstrap.agent_api.request import Request
from bootstrap.agent_api.routes import Kind, Route
from bootstrap.agent_api.spool import Body, FullError, Spool
from bootstrap.agent_api.workers import Workers
from bootstrap.secret import Secret
from bootstrap.server import Server

MAX_CONNECTIONS = 64
MAX_CALLS = 8  # that are answered at a time
SHORT = 1 << 16  # bytes of an answer that is kept in memory, whatever there is of others
PATIENCE = 2.0  # seconds for calls that are being answered when the server closes


class _Gate:
    """The server's part of a call (bootstrap.agent_api.connection.Gate)."""

    def __init__(
        self, backend: Backend, *, job_id: str, token: Secret, refusals: Refusals, workers: Workers
    ) -> None:
        self._backend = backend
        self._job_id = job_id
        self._token = token
        self._refusals = refusals
        self._workers = workers
        self._connections: set[Connection] = set()

    @property
    def spool(self) -> Spool:
        return self._backend.spool

    def connect(self, client: socket.socket) -> Connection:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(client, self)
        self._connections.add(connection)
        return connection

    def forget(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def make_space(self, wanted_by: Connection) -> bool:
        slow = [one for one in self._connections if one.keeps and one is not wanted_by]
        oldest = min(slow, default=None, key=_age)
        if oldest is None:
            return False
        oldest.give_up()
        return True

    def refused(self, request: Request) -> Answer | None:
        answer = self._judge(request, routes.find(request.method, request.path))
        if answer and answer.refused:
            self._report(request, answer)
        return answer

    def unwritten(self, request: Request, failed: OSError) -> Answer:
        why = f"what it sends cannot be written: {failed.strerror}"
        answer = refusal(why, status=HTTPStatus.INSUFFICIENT_STORAGE)
        self._report(request, answer)
        return answer

    def _judge(self, request: Request, route: Route | None) -> Answer | None:
        if route is None:
            shown = f"{request.method} /{'/'.join(request.path)}"
            return refusal(f"{shown} is no call that it knows", status=HTTPStatus.NOT_FOUND)
        if route.kind is not Kind.STORE and not self._is_authorized(request):
            return refusal("this is not the token of its job", status=HTTPStatus.UNAUTHORIZED)
        why = self._refuses(route)
        if why:
            return refusal(why)
        most = self.spool.storage.upload if route.kind is Kind.STORE else route.most
        if request.length > most:
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            return problem(status, f"expected at most {most} bytes, got {request.length}")
        return None

    def _refuses(self, route: Route) -> str:
        if route.kind is Kind.OF_AGENT:
            return "this call is the agent's own, outside of the sandbox"
        if route.job and route.job != self._job_id:
            return f"the job may not {route.kind.value} as another job"
        return self._backend.refuses(route)

    def _is_authorized(self, request: Request) -> bool:
        given = request.headers.get("authorization", "")
        return hmac.compare_digest(given.encode(), f"Token {self._token.reveal()}".encode())

    def begin(self, request: Request, body: Body) -> Pending:
        try:
            pending = Pending()
        except OSError:  # this process can have no more descriptors
            body.close()
            raise
        refuse = partial(_refuse, body, pending)
        try:
            self._workers.run(partial(self._answer, request, body, pending), instead=refuse)
        except RuntimeError:  # as many wait as may, or this process can have no more threads
            refuse()
        return pending

    def _answer(self, request: Request, body: Body, pending: Pending) -> None:
        answer = problem(HTTPStatus.INTERNAL_SERVER_ERROR, "Airlock failed: a bug")
        if not pending.is_wanted:  # its client is gone, and the call has not begun
            body.close()
            pending.finish(answer)
            return
        try:
            answer = self._spooled(self._backend.answer(_call(request, body)))
        except MalformedError as wrong:
            answer = problem(HTTPStatus.BAD_REQUEST, str(wrong))
        except Exception as bug:  # noqa: BLE001 - the next call is to be answered
            self._report(request, refusal(f"a bug of Airlock: {type(bug).__name__}"))
        finally:
            body.close()
            pending.finish(answer)
        if answer.refused:
            self._report(request, answer)

    def _spooled(self, answer: Answer) -> Answer:
        """Keep a long answer where it counts: its client may not read it for a while."""
        if not isinstance(answer.body, bytes) or len(answer.body) <= SHORT:
            return answer
        body = self.spool.body()
        try:
            body.append(answer.body)
        except FullError:
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, "too many answers at a time; try again")
        return replace(answer, body=body.opened(), size=body.size, closing=body.close)

    def _report(self, request: Request, answer: Answer) -> None:
        """Not in the server's thread: the audit trail may have to wait for its file."""
        if self._refusals.add(request.method, request.path, answer.refused):
            with suppress(RuntimeError):  # no more threads: `Refusals.close` reports it
                self._workers.run(self._refusals.flush)


def _refuse(body: Body, pending: Pending) -> None:
    body.close()
    pending.finish(problem(HTTPStatus.SERVICE_UNAVAILABLE, "too busy; try again"))


def _age(connection: Connection) -> float:
    return connection.began


def _call(request: Request, body: Body) -> Call:
    return Call(
        route=cast("Route", routes.find(request.method, request.path)),
        method=request.method,
        path=request.path,
        query=request.query,
        headers=request.headers,
        body=body.opened(),
        size=body.size,
    )


@contextmanager
def serving(
    listener: socket.socket,
    backend: Backend,
    *,
    job_id: str,
    token: Secret,
    refused: Callable[[RefusedCall], None],
    patience: float = PATIENCE,
) -> Iterator[None]:
    """Serve the agent API of one job on `listener` until this closes; owns it from now on.

    `patience` is how many seconds closing waits for calls that are being answered. `token` is what
    the job's agent has to send: worth nothing anywhere else. `refused` is called in several
    threads, for a bounded number of calls, and must not raise.
    """
    refusals = Refusals(refused)
    workers = Workers(MAX_CALLS, waiting=MAX_CONNECTIONS, name="agent-api call")
    gate = _Gate(backend, job_id=job_id, token=token, refusals=refusals, workers=workers)
    server = Server(listener, gate.connect, limit=MAX_CONNECTIONS, name="agent-api")
    server.start()
    try:
        yield
    finally:
        server.close()
        workers.close(patience)
        refusals.close()
