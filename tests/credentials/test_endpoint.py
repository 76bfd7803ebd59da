"""The listener under load and under clients that mean it harm."""

import http.client
import json
import resource
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from bootstrap.credentials.endpoint import MAX_CONNECTIONS, Endpoint, serving
from bootstrap.credentials.renewal import Sessions
from tests.credentials.given import eventually, session


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serving("127.0.0.1", Sessions(session()), peer="127.0.0.1") as serving_now:
        yield serving_now


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


def said(client: socket.socket) -> bytes:
    """Read until the other side hangs up."""
    received = b""
    try:
        while chunk := client.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    return received


def test_the_job_gets_its_session_by_its_path_alone(endpoint: Endpoint) -> None:
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
def test_nobody_but_the_room_is_answered(peer: str | None) -> None:
    with serving("127.0.0.1", Sessions(session()), peer=peer) as closed, dial(closed) as client:
        client.sendall(f"GET {closed.path} HTTP/1.1\r\n\r\n".encode())
        assert said(client) == b""


def test_nothing_is_served_after_the_job() -> None:
    sessions = Sessions(session())
    with serving("127.0.0.1", sessions, peer="127.0.0.1") as endpoint:
        held = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=5)
        held.request("GET", endpoint.path)
        assert held.getresponse().read()
        port = endpoint.port
    with pytest.raises(OSError):  # noqa: PT011 - refused or reset, as the kernel likes
        socket.create_connection(("127.0.0.1", port), timeout=1)
    held.sock.settimeout(5)
    assert held.sock.recv(1) == b""
    held.close()


def test_an_expired_session_is_503_and_a_renewed_one_is_served_again() -> None:
    sessions = Sessions(session(seconds=-1))
    with serving("127.0.0.1", sessions, peer="127.0.0.1") as endpoint:
        assert fetch(endpoint)[0] == 503
        sessions.replace(session(key="ASIATWO"))
        assert fetch(endpoint)[1]["AccessKeyId"] == "ASIATWO"


def test_many_requests_on_one_connection_and_several_in_one_packet(endpoint: Endpoint) -> None:
    request = f"GET {endpoint.path} HTTP/1.1\r\n\r\n".encode()
    with dial(endpoint) as client:
        client.sendall(
            request * 50 + request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        )
        assert said(client).count(b"HTTP/1.1 200") == 51


def test_thousands_of_requests_from_many_clients(endpoint: Endpoint) -> None:
    with ThreadPoolExecutor(32) as pool:
        statuses = list(pool.map(lambda _: fetch(endpoint)[0], range(2000)))
    assert set(statuses) == {200}


def test_one_thread_serves_them_all(endpoint: Endpoint) -> None:
    before = threading.active_count()
    clients = [dial(endpoint) for _ in range(60)]
    assert fetch(endpoint)[0] == 200
    assert threading.active_count() == before
    for client in clients:
        client.close()


def test_slow_clients_harm_nobody_but_themselves(endpoint: Endpoint) -> None:
    """More of them than there are places: each sends one byte and waits."""
    slow = [dial(endpoint) for _ in range(MAX_CONNECTIONS + 20)]
    for client in slow:
        client.sendall(b"G")
    for _ in range(20):
        assert fetch(endpoint)[0] == 200
    for client in slow:
        client.close()


def test_a_client_that_says_nothing_is_hung_up_on(endpoint: Endpoint) -> None:
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
        assert said(client).startswith(b"HTTP/1.1 431 ")


def test_a_body_is_not_taken_for_the_next_request(endpoint: Endpoint) -> None:
    smuggled = f"GET {endpoint.path} HTTP/1.1\r\n\r\n".encode()
    with dial(endpoint) as client:
        head = f"POST / HTTP/1.1\r\nContent-Length: {len(smuggled)}\r\n\r\n".encode()
        client.sendall(head + smuggled)
        answered = said(client)
    assert answered.startswith(b"HTTP/1.1 405 ")
    assert answered.count(b"HTTP/1.1") == 1


def test_closing_waits_for_no_client() -> None:
    with serving("127.0.0.1", Sessions(session()), peer="127.0.0.1") as endpoint:
        clients = [dial(endpoint) for _ in range(20)]
        for client in clients:
            client.sendall(b"GET ")
        eventually(lambda: fetch(endpoint)[0] == 200)
    for client in clients:
        with client:
            assert said(client) == b""
