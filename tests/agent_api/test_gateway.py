"""The gateway's edge: what reaches Buildkite, with which headers, and what comes back."""

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from bootstrap.agent_api.gateway import upstream
from bootstrap.agent_api.model import AgentApiGrant, RefusedCall
from bootstrap.agent_api.spool import Spool, Storage
from bootstrap.host.proxy import Proxy, no_proxy
from bootstrap.secret import Secret
from tests.agent_api.served import AUDIENCE, EVERYTHING, PLACEHOLDER, Served, gateway, listener
from tests.fakes.control_plane import JobOrder, job_env
from tests.fakes.simulator import Call, Reply


@pytest.fixture
def live() -> Iterator[Served]:
    with gateway() as served:
        yield served


def last(served: Served) -> Call:
    assert served.control
    return served.control.calls[-1]


def test_the_real_token_replaces_the_placeholder(live: Served) -> None:
    live.job_call("POST", "data/keys")
    assert live.job
    assert last(live).headers["authorization"] == f"Token {live.job.token}"
    assert PLACEHOLDER not in str(last(live))


def test_the_token_of_one_job_is_worthless_to_another(live: Served) -> None:
    with gateway() as other:
        assert live.control
        assert other.job
        assert live.job_call("POST", "data/keys", token=other.job.token)[0] == 401
        assert other.call("POST", f"/jobs/{live.own.job}/data/keys")[0] == 403
        direct = Served(port=int(live.control.url.rpartition(":")[2]), own=live.own, env={})
        assert direct.job_call("POST", "data/keys")[0] == 401


def test_oidc_is_open_without_the_gateway_and_shut_with_it() -> None:
    asked = {"audience": "any.example.com"}
    with gateway(AgentApiGrant(oidc_audiences=(AUDIENCE,))) as live:
        assert live.control
        assert live.job
        port = int(live.control.url.rpartition(":")[2])
        direct = Served(port=port, own=live.own, env={}, token=live.job.token)
        assert direct.job_call("POST", "oidc/tokens", asked)[0] == 200
        status, answer = live.job_call("POST", "oidc/tokens", asked)
        assert status == 403
        assert "'any.example.com'" in answer["message"]
        assert AUDIENCE in answer["message"]
        assert live.job_call("POST", "oidc/tokens", {"audience": AUDIENCE})[0] == 200
    (refused,) = live.refused
    assert refused == RefusedCall(
        method="POST", path=f"/jobs/{live.own.job}/oidc/tokens", why=answer["message"][9:]
    )


def test_headers_are_the_agents_and_the_hosts_own() -> None:
    host = {"BUILDKITE_REQUEST_HEADER_BUILDKITE_CELL": "7", "BUILDKITE_REQUEST_HEADER_HOST": "evil"}
    sent = {
        "User-Agent": "buildkite-agent/3", "Buildkite-Timeout-Milliseconds": "900",
        "X-Buildkite-Backoff-Sequence": "2", "Buildkite-Cell": "8", "Cookie": "a=b",
        "X-HTTP-Method-Override": "DELETE", "X-Forwarded-For": "1.2.3.4",
        "Content-Type": "application/x-www-form-urlencoded",
    }  # fmt: skip
    with gateway(headers=host) as live:
        live.job_call("POST", "data/exists", {"key": "a"}, headers=sent)
        headers = dict(last(live).headers)
    assert headers.pop("host").startswith("127.0.0.1:")
    assert headers.pop("authorization")
    assert headers == {
        "user-agent": "buildkite-agent/3", "buildkite-timeout-milliseconds": "900",
        "x-buildkite-backoff-sequence": "2", "buildkite-cell": "7",
        "accept-encoding": "identity", "connection": "close",
        "content-type": "application/json", "content-length": "12",
    }  # fmt: skip


def test_unknown_parameters_do_not_reach_buildkite(live: Served) -> None:
    live.job_call("POST", "oidc/tokens?audience=evil&async=true", {"audience": AUDIENCE})
    assert last(live).query == {}
    live.job_call("GET", "secrets?key=CONTRACT&job_id=other")
    assert last(live).query == {"key": "CONTRACT"}


def test_what_buildkite_answers_comes_back(live: Served) -> None:
    assert live.control
    busy = Reply(status=429, body=b'{"message":"slow"}', headers={"Retry-After": "7", "X-A": "b"})
    live.control.fail("POST */data/keys", busy)
    with live.dial() as client:
        client.sendall(
            f"POST /jobs/{live.own.job}/data/keys HTTP/1.1\r\nHost: a\r\n"
            f"Authorization: Token {PLACEHOLDER}\r\nConnection: close\r\n\r\n".encode()
        )
        received = client.makefile("rb").read()
    assert received.startswith(b"HTTP/1.1 429")
    assert b"Retry-After: 7\r\n" in received
    assert b"X-A" not in received
    assert received.endswith(b'{"message":"slow"}')


def test_the_location_of_an_upload_is_a_path(live: Served) -> None:
    assert live.control
    where = f"https://buildkite.example.com/v3/jobs/{live.own.job}/pipelines/u?token=1"
    live.control.fail("POST */pipelines", Reply(status=202, headers={"Location": where}))
    with live.dial() as client:
        client.sendall(
            f"POST /jobs/{live.own.job}/pipelines?async=true HTTP/1.1\r\nHost: a\r\n"
            f"Authorization: Token {PLACEHOLDER}\r\nConnection: close\r\n\r\n".encode()
        )
        received = client.makefile("rb").read()
    assert f"Location: /v3/jobs/{live.own.job}/pipelines/u\r\n".encode() in received


@pytest.mark.parametrize("status", [301, 302, 307, 304])
def test_no_redirection_is_followed_or_passed_on(live: Served, status: int) -> None:
    assert live.control
    where = {"Location": f"{live.control.url}/jobs/{live.own.job}/data/keys"}
    live.control.fail("POST */data/keys", Reply(status=status, headers=where, body=b""))
    assert live.job_call("POST", "data/keys")[0] == 502
    assert len(live.control.calls) == 1


@pytest.mark.parametrize("padding", [0, 65_530, 70_000, 200_000])
def test_an_answer_with_the_real_token_is_withheld(live: Served, padding: int) -> None:
    assert live.control
    assert live.job
    body = b"x" * padding + live.job.token.encode() + b"y" * 10
    live.control.fail("POST */data/keys", Reply(body=body, kind="text/plain"))
    status, answer = live.job_call("POST", "data/keys")
    assert status == 502
    assert live.job.token not in str(answer)
    assert live.job_call("POST", "data/keys") == (200, [])


@pytest.mark.parametrize("cut", [1, 5, 9])
def test_the_real_token_is_found_in_pieces(cut: int) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n0123456789"
    token = b"real-token"
    pieces = (head + token[:cut], token[cut:] + b"0123456789")
    with answering(*pieces, hold=0.1) as endpoint:
        made = upstream.send(
            upstream.Upstream(
                endpoint=endpoint, headers={}, token=Secret("real-token"), proxy_for=no_proxy
            ),
            upstream.Outgoing(method="GET", target="/", headers={}, body=b"", size=0),
            Spool(Storage(directory=None, total=1000)),
        )
    assert made.status == 502


def test_a_header_with_the_real_token_is_withheld(live: Served) -> None:
    assert live.control
    assert live.job
    live.control.fail("POST */data/keys", Reply(headers={"Retry-After": live.job.token}))
    assert live.job_call("POST", "data/keys")[0] == 502


@pytest.mark.parametrize(
    "reply",
    [
        Reply(headers={"Content-Encoding": "gzip"}),
        Reply(kind="text/plain; a=\u00e9"),
        Reply(headers={"Retry-After": "1\r\n folded"}),
    ],
)
def test_an_answer_that_could_hide_something_is_withheld(live: Served, reply: Reply) -> None:
    assert live.control
    live.control.fail("POST */data/keys", reply)
    assert live.job_call("POST", "data/keys")[0] == 502


def test_an_answer_beyond_the_limit_is_withheld(
    live: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "MAX_ANSWER", 100_000)
    assert live.control
    live.control.fail("POST */data/keys", Reply(body=b"x" * 100_001))
    assert live.job_call("POST", "data/keys")[0] == 502


@contextmanager
def answering(*pieces: bytes, hold: float = 0.0) -> Iterator[str]:
    """Be a Buildkite that sends these pieces to every connection; yields its URL."""
    opened = listener()
    stopped = threading.Event()

    def serve() -> None:
        while True:
            try:
                client, _ = opened.accept()
            except OSError:
                return
            with client:
                client.recv(65536)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for piece in pieces:
                    client.sendall(piece)
                    stopped.wait(hold)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{opened.getsockname()[1]}"
    finally:
        stopped.set()
        opened.shutdown(socket.SHUT_RDWR)
        opened.close()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[1",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[1", b"HTTP/1.1 9\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 500,
    ],
)  # fmt: skip
def test_half_an_answer_is_none(content: bytes) -> None:
    with answering(content) as endpoint, gateway(endpoint=endpoint) as live:
        status, answer = live.job_call("POST", "data/keys")
        assert status == 502
        assert answer["message"].startswith("Airlock: ")


def test_a_silent_buildkite_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "SILENCE", 0.2)
    with answering(b"", hold=20.0) as endpoint, gateway(endpoint=endpoint) as live:
        assert live.job_call("POST", "data/keys")[0] == 504


def test_a_buildkite_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "WHOLE", 0.0)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"
    with answering(head) as endpoint, gateway(endpoint=endpoint) as live:
        assert live.job_call("POST", "data/keys")[0] == 504


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "file:///etc/passwd", "nonsense"])
def test_an_unreachable_buildkite_makes_the_agent_try_again(endpoint: str) -> None:
    with gateway(endpoint=endpoint) as live:
        status, answer = live.job_call("POST", "data/keys")
        assert status == 502
        assert "was not reached" in answer["message"]


def test_a_path_below_the_endpoints_own_is_kept(live: Served) -> None:
    assert live.control
    with gateway(endpoint=f"{live.control.url}/v3/") as below:
        below.job_call("POST", "data/keys")
    assert last(live).path == f"/v3/jobs/{below.own.job}/data/keys"


def test_a_proxy_is_asked_to_connect() -> None:
    received: list[bytes] = []
    opened = listener()

    def serve() -> None:
        client, _ = opened.accept()
        with client:
            received.append(client.recv(65536))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    address = f"127.0.0.1:{opened.getsockname()[1]}"
    proxy = Proxy(address=address, user="u", password=Secret("p"))
    connection, path = upstream.connected(
        upstream.Upstream(
            endpoint="https://agent.example.com/v3", headers={}, token=Secret("t"),
            proxy_for=lambda _url: proxy,
        )
    )  # fmt: skip
    with closing(connection), pytest.raises((OSError, http.client.HTTPException)):
        connection.connect()
    thread.join(5)
    opened.close()
    assert path == "/v3"
    assert received[0].startswith(b"CONNECT agent.example.com:443 HTTP/1.")
    assert b"Proxy-Authorization: Basic dTpw" in received[0]


def test_big_bodies_pass_and_slow_ones_delay_nobody(live: Served) -> None:
    change = {"uuid": "u", "pipeline": {"steps": ["x" * 1000] * 7000}}
    started = time.monotonic()
    assert live.job_call("POST", "pipelines", change)[0] == 200
    assert live.job
    assert live.job.pipelines[0] == change
    assert live.job_call("POST", "data/keys")[0] == 200
    assert time.monotonic() - started < 10


def test_other_builds_are_read_only_if_the_rule_says_so() -> None:
    with gateway(replace(EVERYTHING, other_builds=True)) as live:
        assert live.control
        other = live.control.enqueue(JobOrder(env=job_env("true")))
        live.call("POST", f"/builds/{other.build}/data/keys")
        assert last(live).path == f"/builds/{other.build}/data/keys"
        live.call("GET", f"/builds/{other.build}/artifacts/search?query=a")
        assert last(live).path == f"/builds/{other.build}/artifacts/search"
        count = len(live.control.calls)
        assert live.call("POST", f"/builds/{other.build}/cancel")[0] == 403
        assert live.call("POST", f"/jobs/{other.id}/data/keys")[0] == 403
        assert len(live.control.calls) == count
