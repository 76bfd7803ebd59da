"""One call of Buildkite's agent API, with the job's real token."""

import http.client
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from typing import BinaryIO
from urllib.parse import urlsplit

from bootstrap.agent_api.model import Answer, problem
from bootstrap.agent_api.spool import Body, FullError, Spool
from bootstrap.host.proxy import Proxy, ProxyFor
from bootstrap.http_answer import HttpAnswer
from bootstrap.secret import Secret

SILENCE = 55.0  # seconds in which Buildkite sends or takes nothing; the agent waits for 60
WHOLE = 55.0  # seconds for a call, however steadily its answer arrives
MAX_ANSWER = 16 << 20  # bytes
CHUNK = 1 << 16

# Of the agent's headers, those that say something of this call; its token is not among them.
_REQUEST = (
    "buildkite-timeout-milliseconds",
    "user-agent",
    "x-buildkite-backoff-sequence",
)
_ANSWER = ("Content-Type", "Retry-After")


@dataclass(frozen=True, kw_only=True, slots=True)
class Upstream:
    """Where Buildkite is, and what every call there needs."""

    endpoint: str
    headers: Mapping[str, str]  # by which Buildkite routes requests
    token: Secret
    proxy_for: ProxyFor
    context: Callable[[], ssl.SSLContext]  # made once: that takes longer than a call


@dataclass(frozen=True, kw_only=True, slots=True)
class Outgoing:
    """What is sent: `headers` are those of the agent, of which some are passed on."""

    method: str
    target: str  # path and query, below the endpoint's own path
    headers: Mapping[str, str]
    body: bytes | BinaryIO
    size: int  # bytes


def send(upstream: Upstream, outgoing: Outgoing, spool: Spool) -> Answer:
    """Return Buildkite's answer, or one that makes the agent try again.

    Tries once: the agent itself repeats what 429 and 5xx answer. No answer with the token in it,
    and no redirection, is passed on.
    """
    deadline = time.monotonic() + WHOLE
    try:
        connection, path = connected(upstream)
        with closing(connection):
            _request(connection, upstream, outgoing, path)
            return _answer(connection.getresponse(), upstream.token, spool, deadline)
    except TimeoutError:
        return problem(HTTPStatus.GATEWAY_TIMEOUT, "Airlock: Buildkite did not answer in time")
    except FullError:
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, "Airlock: too many answers at a time")
    except (OSError, http.client.HTTPException, ValueError) as failed:
        shown = f"Airlock: Buildkite was not reached: {type(failed).__name__}"
        return problem(HTTPStatus.BAD_GATEWAY, shown)


def connected(upstream: Upstream) -> tuple[http.client.HTTPConnection, str]:
    """Return what will connect, and the endpoint's own path. Raises HTTPException, ValueError."""
    url = urlsplit(upstream.endpoint)
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise http.client.InvalidURL(f"{url.scheme} is not http")
    secure = url.scheme == "https"
    port = url.port or (443 if secure else 80)
    proxy = upstream.proxy_for(upstream.endpoint)
    host, at = (url.hostname, port) if proxy is None else _address(proxy)
    connection: http.client.HTTPConnection
    if secure:
        context = upstream.context()
        connection = http.client.HTTPSConnection(host, at, timeout=SILENCE, context=context)
    else:
        connection = http.client.HTTPConnection(host, at, timeout=SILENCE)
    connection.response_class = HttpAnswer
    if proxy is not None:
        authorization = proxy.authorization()
        headers = {"Proxy-Authorization": authorization.reveal()} if authorization else {}
        connection.set_tunnel(url.hostname, port, headers=headers)
    return connection, url.path.rstrip("/")


def _address(proxy: Proxy) -> tuple[str, int]:
    host, _, port = proxy.address.rpartition(":")
    return host.strip("[]"), int(port)


def _request(
    connection: http.client.HTTPConnection, upstream: Upstream, outgoing: Outgoing, path: str
) -> None:
    method, size = outgoing.method, outgoing.size
    connection.putrequest(method, path + outgoing.target, skip_accept_encoding=True)
    passed = {name: outgoing.headers[name] for name in _REQUEST if name in outgoing.headers}
    for name, value in (passed | dict(upstream.headers)).items():
        connection.putheader(name, value)
    connection.putheader("Authorization", f"Token {upstream.token.reveal()}")
    connection.putheader("Accept-Encoding", "identity")
    connection.putheader("Connection", "close")
    if size:
        connection.putheader("Content-Type", "application/json")
    if size or method in {"POST", "PUT"}:
        connection.putheader("Content-Length", str(size))
    connection.endheaders()
    if size:
        connection.send(outgoing.body)


def _answer(
    response: http.client.HTTPResponse, token: Secret, spool: Spool, deadline: float
) -> Answer:
    if response.status < 200 or 300 <= response.status < 400:
        return problem(HTTPStatus.BAD_GATEWAY, "Airlock: Buildkite redirects this call")
    if response.getheader("Content-Encoding", "identity").lower() != "identity":
        return problem(HTTPStatus.BAD_GATEWAY, "Airlock: Buildkite's answer is compressed")
    headers = {name: value for name in _ANSWER if (value := response.getheader(name))}
    location = response.getheader("Location")
    if location and response.status == HTTPStatus.ACCEPTED:
        headers["Location"] = urlsplit(location).path  # the agent reads the ids in it
    body = spool.body()
    try:
        withheld = _withheld(response, token, body, deadline)
        for value in headers.values():
            if token.reveal() in value or not (value.isascii() and value.isprintable()):
                withheld = "Airlock: a header of Buildkite's answer may not be passed on"
        if withheld:
            body.close()
            return problem(HTTPStatus.BAD_GATEWAY, withheld)
    except BaseException:
        body.close()
        raise
    return Answer(
        status=response.status, headers=headers, body=body.opened(), size=body.size,
        closing=body.close,
    )  # fmt: skip


def _withheld(
    response: http.client.HTTPResponse, token: Secret, body: Body, deadline: float
) -> str:
    """Take the answer into `body`; return why it may not be passed on, or ""."""
    secret = token.reveal().encode()
    end = b""
    while chunk := response.read1(CHUNK):
        if time.monotonic() > deadline:
            raise TimeoutError
        body.append(chunk)
        if body.size > MAX_ANSWER:
            return f"Airlock: Buildkite's answer has more than {MAX_ANSWER} bytes"
        end += chunk
        if secret in end:
            return "Airlock: Buildkite's answer has the job's token in it"
        end = end[-len(secret) :]
    if response.length:  # `read1` does not raise
        raise http.client.IncompleteRead(b"", response.length)
    return ""
