"""The credential endpoint under load and under hostile clients."""

import http.client
import json
import resource
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bootstrap.credentials.endpoint import MAX_CONNECTIONS, Endpoint, serving
from bootstrap.credentials.renewal import Sessions
from tests.credentials.given import eventually, session


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serving("127.0.0.1", Sessions(session()), peer="127.0.0.1") as endpoint_now:
        yield endpoint_now


def fetch(endpoint: Endpoint, path: str | None = None) -> tuple[int, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=5)
    try:
        connection.request("GET", path or endpoint.path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def dial(endpoint: Endpoint) -> socket.socket:
    return socket.create_connection(("127.0.0.1", endpoint.port), timeout=5)


def received(client: socket.socket) -> bytes:
    """Read until the endpoint closes the connection."""
    content = b""
    try:
        while chunk := client.recv(65536):
            content += chunk
    except ConnectionResetError:
        pass
    return content


def test_the_session_is_answered_at_its_path_alone(endpoint: Endpoint) -> None:
    assert fetch(endpoint)[1]["AccessKeyId"] == "ASIAONE"
    assert fetch(endpoint, "/v1/guessed")[0] == 404


def test_the_path_cannot_be_guessed() -> None:
    with (
        serving("127.0.0.1", Sessions(session())) as one,
        serving("127.0.0.1", Sessions(session())) as other,
    ):
        assert one.path != other.path
        assert len(one.path) >= 43


@pytest.mark.parametrize("peer", [None, "127.0.0.2"])
def test_a_peer_other_than_the_container_is_not_answered(peer: str | None) -> None:
    with serving("127.0.0.1", Sessions(session()), peer=peer) as closed, dial(closed) as client:
        client.sendall(f"GET {closed.path} HTTP/1.1\r\n\r\n".encode())
        assert received(client) == b""


def test_a_closed_endpoint_serves_nothing() -> None:
    sessions = Sessions(session())
    with serving("127.0.0.1", sessions, peer="127.0.0.1") as endpoint:
        kept = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=5)
        kept.request("GET", endpoint.path)
        assert kept.getresponse().read()
        port = endpoint.port
    with pytest.raises(OSError):  # noqa: PT011 - refused or reset, as the kernel likes
        socket.create_connection(("127.0.0.1", port), timeout=1)
    kept.sock.settimeout(5)
    assert kept.sock.recv(1) == b""
    kept.close()


def test_an_expired_session_is_503_until_it_is_renewed() -> None:
    sessions = Sessions(session(seconds=-1))
    with serving("127.0.0.1", sessions, peer="127.0.0.1") as endpoint:
        assert fetch(endpoint)[0] == 503
        sessions.replace(session(key="ASIATWO"))
        assert fetch(endpoint)[1]["AccessKeyId"] == "ASIATWO"


def test_pipelined_requests_are_all_answered(endpoint: Endpoint) -> None:
    request = f"GET {endpoint.path} HTTP/1.1\r\n\r\n".encode()
    with dial(endpoint) as client:
        client.sendall(
            request * 50 + request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        )
        assert received(client).count(b"HTTP/1.1 200") == 51


def test_thousands_of_requests_from_many_clients_are_all_answered(endpoint: Endpoint) -> None:
    with ThreadPoolExecutor(32) as pool:
        statuses = list(pool.map(lambda _: fetch(endpoint)[0], range(2000)))
    assert set(statuses) == {200}


def test_many_connections_take_one_thread(endpoint: Endpoint) -> None:
    before = threading.active_count()
    clients = [dial(endpoint) for _ in range(60)]
    assert fetch(endpoint)[0] == 200
    assert threading.active_count() == before
    for client in clients:
        client.close()


def test_slow_clients_beyond_the_limit_delay_no_other(endpoint: Endpoint) -> None:
    """Each sends one byte and waits."""
    slow = [dial(endpoint) for _ in range(MAX_CONNECTIONS + 20)]
    for client in slow:
        client.sendall(b"G")
    for _ in range(20):
        assert fetch(endpoint)[0] == 200
    for client in slow:
        client.close()


def test_a_silent_client_is_disconnected(endpoint: Endpoint) -> None:
    with dial(endpoint) as client:
        client.settimeout(15)
        assert client.recv(1) == b""


def test_a_head_without_end_is_cut_off_and_not_kept(endpoint: Endpoint) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with dial(endpoint) as client:
        client.sendall(b"GET / HTTP/1.1\r\n")

        def is_cut_off() -> bool:
            try:
                client.sendall(b"X: " + b"y" * 100_000 + b"\r\n")
            except OSError:
                return True
            return False

        eventually(is_cut_off)
    assert fetch(endpoint)[0] == 200
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 << 10  # KiB


def test_the_answer_to_too_long_a_head_can_be_read(endpoint: Endpoint) -> None:
    with dial(endpoint) as client:
        client.sendall(b"GET / HTTP/1.1\r\nX: " + b"y" * 9000)
        assert received(client).startswith(b"HTTP/1.1 431 ")


def test_a_body_is_not_taken_for_the_next_request(endpoint: Endpoint) -> None:
    smuggled = f"GET {endpoint.path} HTTP/1.1\r\n\r\n".encode()
    with dial(endpoint) as client:
        head = f"POST / HTTP/1.1\r\nContent-Length: {len(smuggled)}\r\n\r\n".encode()
        client.sendall(head + smuggled)
        answered = received(client)
    assert answered.startswith(b"HTTP/1.1 405 ")
    assert answered.count(b"HTTP/1.1") == 1


def test_close_does_not_wait_for_clients() -> None:
    with serving("127.0.0.1", Sessions(session()), peer="127.0.0.1") as endpoint:
        clients = [dial(endpoint) for _ in range(20)]
        for client in clients:
            client.sendall(b"GET ")
        eventually(lambda: fetch(endpoint)[0] == 200)
    for client in clients:
        with client:
            assert received(client) == b""


FORMS = (
    "GET {} HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET {} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "HEAD {} HTTP/1.1\r\n\r\n",
    "GET /v1/guessed HTTP/1.1\r\n\r\n",
    "GET {} HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
    "POST {} HTTP/1.1\r\n\r\n",
    "GET {} HTTP/9.9\r\n\r\n",
    "\r\n",
)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.sampled_from(FORMS), max_size=6), st.data())
def test_requests_in_any_chunks_get_the_same_answers(
    endpoint: Endpoint, forms: list[str], data: st.DataObject
) -> None:
    requests = "".join([*forms, "POST {} HTTP/1.1\r\n\r\n"]).replace("{}", endpoint.path).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(requests)), max_size=5)))
    with dial(endpoint) as whole, dial(endpoint) as chunked:
        whole.sendall(requests)
        for start, end in zip([0, *cuts], [*cuts, len(requests)], strict=True):
            with suppress(OSError):  # it has closed the connection already
                chunked.sendall(requests[start:end])
        assert received(chunked) == received(whole)
