"""What comes back from Buildkite through the gateway: all of it, or a reason to try again."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bootstrap.agent_api.gateway import upstream
from bootstrap.agent_api.spool import Spool, Storage
from bootstrap.host.proxy import no_proxy
from bootstrap.secret import Secret
from tests.agent_api.served import PLACEHOLDER, Served, gateway, listener
from tests.fakes.simulator import Reply


@pytest.fixture
def live() -> Iterator[Served]:
    with gateway() as served:
        yield served


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
                endpoint=endpoint,
                headers={},
                token=Secret("real-token"),
                proxy_for=no_proxy,
                context=ssl.create_default_context,
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
