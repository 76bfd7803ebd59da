"""The per-job HTTP listener from which the job's SDKs fetch their session (reference A2).

Three things have to be right before a session is shown: the firewall lets only this job's room
come here, the peer's address is the room's, and the path is the job's unguessable one.
"""

import hmac
import json
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bootstrap.credentials.model import Session
from bootstrap.credentials.renewal import Sessions

MAX_CONNECTIONS = 32
IDLE = 5.0  # seconds until a connection that says nothing is closed


class Endpoint(ThreadingHTTPServer):
    """One job's listener. Nobody is allowed in before `allow`."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: str, sessions: Sessions) -> None:
        self.path = f"/v1/{secrets.token_urlsafe(32)}"
        self.sessions = sessions
        self._peer: str | None = None
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__((address, 0), _Handler)

    @property
    def port(self) -> int:
        """The port of the listener on this host; the room itself always uses 80."""
        return self.server_port

    def allow(self, peer: str) -> None:
        """Serve connections from this address from now on, and from no other."""
        self._peer = peer

    def verify_request(self, request: object, client_address: object) -> bool:
        """Turn away every other peer, and the room itself while it holds too many connections."""
        peer = client_address[0] if isinstance(client_address, tuple) else None
        return self._peer is not None and peer == self._peer and self._free.acquire(blocking=False)

    def process_request_thread(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        """Serve one connection and make room for the next."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle of its request is its own business."""


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint
    protocol_version = "HTTP/1.1"
    server_version = "airlock"
    sys_version = ""
    timeout = IDLE

    def do_GET(self) -> None:
        """Answer with the session, from memory."""
        if not hmac.compare_digest(self.path.encode(), self.server.path.encode()):
            self._say(HTTPStatus.NOT_FOUND, error("InvalidIdInRequest", "no such credentials"))
            return
        session = self.server.sessions.current()
        if session is None:
            self._say(
                HTTPStatus.SERVICE_UNAVAILABLE,
                error("CredentialsUnavailable", "the session has ended and could not be renewed"),
            )
            return
        self._say(HTTPStatus.OK, body(session))

    do_HEAD = do_GET

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Every refusal is JSON: other bodies make SDKs report a parse error instead."""
        self.close_connection = True
        self._say(HTTPStatus(code), error(HTTPStatus(code).phrase.replace(" ", ""), message or ""))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Stay silent: paths are secrets."""

    def _say(self, status: HTTPStatus, document: dict[str, str]) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def body(session: Session) -> dict[str, str]:
    """Return the document that every SDK parses: one of two places that reveal a session."""
    return {
        "AccessKeyId": session.access_key_id,
        "SecretAccessKey": session.secret_access_key.reveal(),
        "Token": session.session_token.reveal(),
        "Expiration": f"{session.expires:%Y-%m-%dT%H:%M:%SZ}",
        "RoleArn": session.role,
    }


def error(code: str, message: str) -> dict[str, str]:
    """Say it twice: Go and Rust read lower case, JavaScript reads upper case."""
    return {"code": code, "message": message, "Code": code, "Message": message}


@contextmanager
def serving(address: str, sessions: Sessions) -> Iterator[Endpoint]:
    """Serve until this closes; then the path, the listener and the session are gone."""
    endpoint = Endpoint(address, sessions)
    closing = threading.Event()

    def serve() -> None:
        while not closing.is_set():
            endpoint.handle_request()

    thread = threading.Thread(target=serve, name="credentials", daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        closing.set()
        endpoint.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread's accept at once
        thread.join(IDLE)
        endpoint.server_close()
