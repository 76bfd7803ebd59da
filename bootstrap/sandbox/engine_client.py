"""The engine's HTTP API on its socket: what every job asks directly, pulls by docker-py.

To import docker-py and what it needs takes 60 ms of processor time, a quarter of what a bare
`docker run` takes to its first byte. Threads may share a client: one connection is kept, and a call
that finds it in use opens its own.
"""

import http.client
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlencode

from bootstrap.http_answer import HttpAnswer

if TYPE_CHECKING:
    from docker import APIClient

OLDEST = "1.41"  # API of Debian 12's docker.io; every newer engine reports its own
_UPGRADE = {"Connection": "Upgrade", "Upgrade": "tcp"}


class EngineFailure(Exception):
    """The engine refused a call. `status` is that of its answer, None if docker-py has none."""

    def __init__(self, message: str, status: int | None) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """The engine at `url`, "unix:///path". Each call may take `timeout` seconds.

    Raises EngineFailure, OSError (TimeoutError if the engine does not answer in time) and
    http.client.HTTPException.
    """

    def __init__(self, url: str, *, timeout: float) -> None:
        self.url = url
        self.timeout = timeout
        self._lock = threading.Lock()
        self._kept: _Connection | None = None
        answer = self._answered("GET", "/_ping", None)
        _checked(answer)
        self._version = answer.version
        self.server = answer.server  # as "Docker/29.1.0 (linux)", "" if it does not say

    def close(self) -> None:
        """Close the connection that is kept; the next call opens another one."""
        with self._lock:
            kept, self._kept = self._kept, None
        if kept:
            kept.close()

    def __del__(self) -> None:
        if kept := getattr(self, "_kept", None):
            kept.close()

    def get(self, path: str, **query: object) -> Any:  # noqa: ANN401 - JSON
        """Return what is at `path`."""
        return self._called("GET", path, query)

    def post(self, path: str, body: Mapping[str, Any] | None = None, **query: object) -> Any:  # noqa: ANN401
        """Have the engine do something, and return its answer, None if that is empty."""
        return self._called("POST", path, query, body)

    def delete(self, path: str, **query: object) -> None:
        """Remove what is at `path`."""
        self._called("DELETE", path, query)

    def stream(self, path: str, **query: object) -> socket.socket:
        """Return the raw connection to which the engine upgrades a call.

        Bytes that it sends at once with its answer are lost: call it before there are any.
        """
        connection = _Connection(self.url, self.timeout)
        try:
            connection.request("POST", self._path(path, query), headers=_UPGRADE)
            response = connection.getresponse()
            if response.status != http.client.SWITCHING_PROTOCOLS:
                _checked(_Answer(status=response.status, content=response.read(), version=""))
            return connection.detached()
        finally:
            connection.close()

    @contextmanager
    def by_docker_py(self) -> Iterator["APIClient"]:
        """Yield docker-py's client, whose failures are raised as this one's."""
        from docker import APIClient  # noqa: PLC0415 - see above
        from docker.errors import DockerException  # noqa: PLC0415
        from requests.exceptions import RequestException, Timeout  # noqa: PLC0415

        # The url is explicit: from_env would follow DOCKER_HOST and ~/.docker.
        api = APIClient(base_url=self.url, version=self._version, timeout=cast("int", self.timeout))
        try:
            yield api
        except Timeout as late:
            raise TimeoutError(str(late)) from late
        except (DockerException, RequestException) as failed:
            status = getattr(getattr(failed, "response", None), "status_code", None)
            message = getattr(failed, "explanation", None)  # the engine's, without docker-py's URL
            shown = f"{message} (HTTP {status})" if message else str(failed)
            raise EngineFailure(shown, status) from failed
        finally:
            api.close()

    def _called(
        self,
        method: str,
        path: str,
        query: Mapping[str, object],
        body: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - JSON
        content = None if body is None else json.dumps(body).encode()
        answer = self._answered(method, self._path(path, query), content)
        _checked(answer)
        return _document(answer)

    def _answered(self, method: str, path: str, content: bytes | None) -> "_Answer":
        headers = {"Content-Type": "application/json"} if content else {}
        with self._connected() as connection:
            connection.request(method, path, content, headers)
            response = connection.getresponse()
            version = response.headers.get("API-Version", OLDEST)
            server = response.headers.get("Server", "")
            return _Answer(
                status=response.status, content=response.read(), version=version, server=server
            )

    @contextmanager
    def _connected(self) -> "Iterator[_Connection]":
        """Yield a connection, and keep it if it has been of use."""
        with self._lock:
            connection, self._kept = self._kept, None
        if connection is None or not connection.is_idle(self.timeout):
            connection = _Connection(self.url, self.timeout)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        with self._lock:
            connection, self._kept = self._kept, connection
        if connection:  # another thread's, which has come back meanwhile
            connection.close()

    def _path(self, path: str, query: Mapping[str, object]) -> str:
        values = {name: _parameter(value) for name, value in query.items()}
        asked = f"?{urlencode(values)}" if values else ""
        return f"/v{self._version}{quote(path, safe='/:@')}{asked}"


def _parameter(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Answer:
    status: int
    content: bytes
    version: str
    server: str = ""


def _document(answer: _Answer) -> Any:  # noqa: ANN401 - JSON
    if not answer.content.strip():
        return None
    try:
        return json.loads(answer.content)
    except ValueError as broken:
        raise EngineFailure(f"its answer is not JSON: {broken}", answer.status) from broken


def _checked(answer: _Answer) -> None:
    """Raise EngineFailure with the engine's message unless it did what it was asked."""
    if answer.status < http.client.BAD_REQUEST:
        return
    text = answer.content.decode("utf-8", "replace").strip()
    try:
        text = str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        text = text or http.client.responses.get(answer.status, "")
    raise EngineFailure(f"{text} (HTTP {answer.status})", answer.status)


class _Connection(http.client.HTTPConnection):
    """A connection to a socket of this host."""

    response_class = HttpAnswer

    def __init__(self, url: str, timeout: float) -> None:
        super().__init__("docker", timeout=timeout)
        self._socket_path = url.removeprefix("unix://")

    def connect(self) -> None:
        """Connect. Raises OSError."""
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.settimeout(self.timeout)
            made.connect(self._socket_path)
        except BaseException:
            made.close()
            raise
        self.sock = made

    def detached(self) -> socket.socket:
        """Return the socket, which closing this does not close any more."""
        detached, self.sock = self.sock, None
        return cast("socket.socket", detached)

    def is_idle(self, timeout: float) -> bool:
        """Return whether the engine still waits for a call, which may now take `timeout`."""
        if self.sock is None:
            return False
        try:
            self.sock.settimeout(0)
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            self.sock.settimeout(timeout)
            return True
        except OSError:
            pass
        self.close()
        return False
