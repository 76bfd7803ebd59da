"""An HTTP server in a thread that records every call and fails on demand."""

import json
import re
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One request as received."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    peer: str

    def json(self) -> Any:
        return json.loads(self.body) if self.body else {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """One answer."""

    status: int = 200
    body: bytes = b"{}"
    kind: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def json_reply(document: Any, status: int = 200) -> Reply:
    return Reply(status=status, body=json.dumps(document).encode())


def problem(status: int, message: str) -> Reply:
    return json_reply({"message": message}, status)


@dataclass(slots=True)
class _Fault:
    pattern: str
    reply: Reply
    times: int


class Simulator(ABC):
    """Serves, records and injects faults; a subclass defines the answers."""

    def __init__(self, listener: socket.socket) -> None:
        self.calls: list[Call] = []
        self.changed = threading.Condition()
        self._faults: list[_Fault] = []
        self.ahead = 0.0  # seconds by which its clock is ahead of this machine's
        self._server = _Server(listener, self)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        host, port = listener.getsockname()[:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"

    @abstractmethod
    def answer(self, call: Call) -> Reply:
        """Return what the real service would answer."""

    def send(self, call: Call, connection: socket.socket) -> None:
        """Set up the connection on which the answer to a call is about to be sent."""
        del call, connection

    def fail(self, pattern: str, reply: Reply, times: int = 1) -> None:
        """Answer the next `times` calls whose "METHOD path" matches with `reply` instead."""
        self._faults.append(_Fault(pattern, reply, times))

    def access_keys(self) -> set[str]:
        """Return the access key ids with which calls were signed."""
        signed = (call.headers.get("authorization", "") for call in self.calls)
        return {found[1] for text in signed if (found := re.search(r"Credential=([^/]+)/", text))}

    def handle(self, call: Call) -> Reply:
        with self.changed:
            self.calls.append(call)
            fault = self._fault(call)
            reply = fault or self.answer(call)
            self.changed.notify_all()
        return reply

    def _fault(self, call: Call) -> Reply | None:
        for fault in self._faults:
            if fault.times > 0 and fnmatchcase(f"{call.method} {call.path}", fault.pattern):
                fault.times -= 1
                return fault.reply
        return None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: socket.socket, simulator: Simulator) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_address = listener.getsockname()
        self.simulator = simulator

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that disconnect early, as those of attacks do."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every second answer on a connection is 40 ms late

    def _any(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        call = Call(
            method=self.command,
            path=parts.path,
            query=dict(parse_qsl(parts.query)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(length),
            peer=self.client_address[0],
        )
        reply = self.server.simulator.handle(call)
        self.server.simulator.send(call, self.connection)
        self.send_response(reply.status)
        for name, value in {"Content-Type": reply.kind, **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = _any  # noqa: N815

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the time as the simulator's clock has it."""
        now = time.time() if timestamp is None else timestamp
        return super().date_time_string(now + self.server.simulator.ahead)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """The calls are recorded; nothing is printed."""


def listening(address: str, port: int) -> socket.socket:
    """Listen on an address of this network namespace."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family, backlog=128)


def loopback(port: int = 0) -> socket.socket:
    """Listen on the loopback, for tests that need no lab."""
    return socket.create_server(("127.0.0.1", port), backlog=128)


@contextmanager
def on_loopback(kind: type[Simulator], *args: Any, **kwargs: Any) -> Iterator[Any]:
    with kind(loopback(), *args, **kwargs) as simulator:
        yield simulator
