"""Answers are read as http.client reads them; where it would guess, they are refused."""

import http.client
import socket
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bootstrap.http_answer import LONGEST_LINE, MOST_HEADERS, HttpAnswer

NAMES = st.sampled_from(["Server", "API-Version", "location", "X-1", "Connection", "Keep-Alive"])
VALUES = st.text(
    st.characters(min_codepoint=32, max_codepoint=255, blacklist_categories=["Cc"]), max_size=9
) | st.sampled_from(["close", "Keep-Alive"])
STATUSES = st.sampled_from([100, 101, 199, 200, 202, 204, 304, 404, 503, 999])
VERSIONS = st.sampled_from(["HTTP/1.0", "HTTP/1.1"])
BODIES = st.sampled_from(["", "Content-Length: 3\r\n", "transfer-encoding: Chunked\r\n"])


def read(kind: type[http.client.HTTPResponse], answer: bytes, method: str = "GET") -> object:
    """Return all that is known of an answer, and its body; or what is raised instead."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(answer)
        theirs.shutdown(socket.SHUT_WR)
        response = kind(ours, method=method)
        try:
            response.begin()
            known = (response.status, response.reason, response.version, response.will_close)
            headers = [*response.headers.items(), response.getheader("x-1", "none")]
            return known, headers, response.length, response.read()
        except http.client.HTTPException as failed:
            return type(failed)
        finally:
            response.close()


@given(
    first=st.tuples(VERSIONS, STATUSES),
    headers=st.lists(st.tuples(NAMES, VALUES), max_size=4),
    body=BODIES,
    method=st.sampled_from(["GET", "HEAD", "POST"]),
    end=st.sampled_from(["\r\n", "\n"]),
)
@example(first=("HTTP/1.1", 200), headers=[], body="", method="GET", end="\r\n")
def test_an_answer_is_read_as_by_http_client(
    first: tuple[str, int], headers: list[tuple[str, str]], body: str, method: str, end: str
) -> None:
    lines = "".join(f"{name}: {value.strip()}{end}" for name, value in headers)
    text = f"{first[0]} {first[1]} So be it\r\n{lines}{body}\r\n3\r\none\r\n0\r\n\r\n"
    answer = text.encode("latin1")
    assert read(HttpAnswer, answer, method) == read(http.client.HTTPResponse, answer, method)


@given(st.binary(max_size=80), st.booleans())
@example(b"", False)  # noqa: FBT003
def test_nothing_else_is_raised_for_junk(junk: bytes, begins: bool) -> None:  # noqa: FBT001
    read(HttpAnswer, (b"HTTP/1.1 200 OK\r\n" if begins else b"") + junk)


@pytest.mark.parametrize(
    "headers",
    [
        "no colon\r\n",
        "Name : value\r\n",
        ": no name\r\n",
        "Name: goes\r\n on\r\n",
        "Name: a\0b\r\n",
        "Name: a\rb\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: +1\r\n",
        "Content-Length: 1, 1\r\n",
        f"Content-Length: {'1' * 5000}\r\n",
        "Content-Length: \r\n",
        "Content-Length: 1\r\ncontent-length: 2\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "A: 1\r\n" * (MOST_HEADERS + 1),
        f"A: {'1' * LONGEST_LINE}\r\n",
        "cut off",
        "",
    ],
)
def test_what_is_unclear_is_refused(headers: str) -> None:
    end = "" if headers in {"cut off", ""} else "\r\n"
    found = read(HttpAnswer, f"HTTP/1.1 200 OK\r\n{headers}{end}".encode())
    assert isinstance(found, type), found


@pytest.mark.parametrize("before", ["", "x"])
def test_a_long_line_of_spaces_is_read_as_fast_as_any_other(before: str) -> None:
    """A pattern whose parts can share the spaces out takes a minute for 3000, and hours for all."""
    line = f"A:{before}{' ' * (LONGEST_LINE - 8)}\0\r\n"
    began = time.process_time()
    found = read(HttpAnswer, f"HTTP/1.1 200 OK\r\n{line}\r\n".encode())
    assert found is http.client.HTTPException
    assert time.process_time() - began < 1


@pytest.mark.parametrize("line", ["HTTP/2 200 OK", "HTTP/0.9 200 OK", "ICY 200 OK", "HTTP/1.1 20x"])
def test_another_protocol_is_refused(line: str) -> None:
    assert isinstance(read(HttpAnswer, f"{line}\r\n\r\n".encode()), type)


def test_a_limit_is_no_less_than_what_it_says() -> None:
    headers = f"B: {'1' * (LONGEST_LINE - 5)}\r\n" + "A: 1\r\n" * (MOST_HEADERS - 1)
    found = read(HttpAnswer, f"HTTP/1.1 200 OK\r\n{headers}\r\n".encode())
    assert isinstance(found, tuple), found
    assert len(found[1]) == MOST_HEADERS + 1


def test_what_says_to_go_on_comes_before_the_answer() -> None:
    found = read(HttpAnswer, b"HTTP/1.1 100 Continue\r\nA: 1\r\n\r\nHTTP/1.1 204 None\r\n\r\n")
    assert isinstance(found, tuple), found
    assert found[0][0] == 204


def test_a_second_call_reads_nothing() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 204 None\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")
        response = HttpAnswer(ours, method="GET")
        response.begin()
        response.begin()
        assert response.status == 204
        response.close()
