"""What the credential endpoint answers to every request, as bytes."""

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.credentials.answer import Answer, answer, take_head
from tests.credentials.given import ROLE, session

PATH = "/v1/unguessable"


def answered(head: bytes, *, expired: bool = False) -> tuple[int, dict[str, str], Answer]:
    reply = answer(head, PATH, None if expired else session())
    first, _, rest = reply.content.partition(b"\r\n")
    body = rest.partition(b"\r\n\r\n")[2]
    return int(first.split()[1]), json.loads(body) if body else {}, reply


def test_a_get_of_the_path_answers_the_session_as_every_sdk_reads_it() -> None:
    status, document, reply = answered(f"GET {PATH} HTTP/1.1\r\nHost: 169.254.170.2".encode())
    assert status == 200
    assert reply.keep
    assert set(document) == {
        "AccessKeyId", "SecretAccessKey", "Token", "Expiration", "RoleArn",
    }  # fmt: skip
    assert document["RoleArn"] == ROLE
    assert document["Expiration"].endswith("Z")


def test_an_expired_session_answers_503_in_both_spellings() -> None:
    status, document, _ = answered(f"GET {PATH} HTTP/1.1".encode(), expired=True)
    assert status == 503
    assert document["code"] == document["Code"] == "CredentialsUnavailable"
    assert document["message"] == document["Message"]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1", 404),
        (b"GET /v1/ HTTP/1.1", 404),
        (f"GET {PATH}/ HTTP/1.1".encode(), 404),
        (f"GET {PATH}?x HTTP/1.1".encode(), 404),
        (f"GET /x/..{PATH} HTTP/1.1".encode(), 404),
        (f"GET http://169.254.170.2{PATH} HTTP/1.1".encode(), 404),
        (f"POST {PATH} HTTP/1.1".encode(), 405),
        (f"PUT {PATH} HTTP/1.1".encode(), 405),
        (f"DELETE {PATH} HTTP/1.1".encode(), 405),
        (f"GET {PATH} HTTP/2.0".encode(), 400),
        (f"GET {PATH}".encode(), 400),
        (b"", 400),
        (b"\x16\x03\x01\x02\x00", 400),
        (f"GET {PATH} HTTP/1.1\r\nno colon".encode(), 400),
        (f"GET {PATH} HTTP/1.1\r\nA: b\nC: d".encode(), 400),
        (f"GET {PATH} HTTP/1.1\r\n folded: x".encode(), 400),
        (f"GET {PATH} HTTP/1.1\r\nHost : x".encode(), 400),
    ],
)
def test_any_other_request_is_refused_without_a_secret(head: bytes, status: int) -> None:
    got, _, reply = answered(head)
    assert got == status
    assert b"the-secret-key" not in reply.content


def test_a_head_request_answers_without_a_secret() -> None:
    reply = answer(f"HEAD {PATH} HTTP/1.1".encode(), PATH, session())
    assert reply.content.startswith(b"HTTP/1.1 200 ")
    assert b"the-secret-key" not in reply.content


@pytest.mark.parametrize(
    ("fields", "keep"),
    [
        ("HTTP/1.1", True),
        ("HTTP/1.1\r\nConnection: close", False),
        ("HTTP/1.0", False),
        ("HTTP/1.0\r\nConnection: keep-alive", True),
        ("HTTP/1.1\r\nContent-Length: 5", False),
        ("HTTP/1.1\r\nTransfer-Encoding: chunked", False),
        ("HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 0", False),
        ("HTTP/1.1\r\nConnection: close\r\nConnection: keep-alive", False),
        ("HTTP/1.1\r\nConnection: te, Close", False),
        ("HTTP/1.0\r\nConnection: close, keep-alive", False),
    ],
)
def test_the_connection_is_kept_where_http_allows_it(fields: str, keep: bool) -> None:  # noqa: FBT001
    assert answer(f"GET {PATH} {fields}".encode(), PATH, session()).keep is keep


HARMLESS = ("Host: x", "Accept: */*", "Connection: keep-alive", "Content-Length: 0", "X: \xe9")
BODIES = (
    "Content-Length: 5", "content-length:\t5 ", "Content-Length: 0x0", "Content-Length: +0",
    "Content-Length:", "Transfer-Encoding: chunked", "TRANSFER-ENCODING:", "Transfer-Encoding: x",
)  # fmt: skip


@given(st.lists(st.sampled_from(HARMLESS)), st.sampled_from(BODIES), st.randoms())
def test_a_request_that_may_have_a_body_is_the_last_wherever_it_says_so(
    harmless: list[str], body: str, random: Random
) -> None:
    fields = [*harmless, body]
    random.shuffle(fields)
    head = "\r\n".join([f"GET {PATH} HTTP/1.1", *fields]).encode("latin-1")
    assert not answer(head, PATH, session()).keep


@given(st.binary(max_size=300))
def test_random_bytes_get_neither_an_exception_nor_a_secret(head: bytes) -> None:
    assert b"the-secret-key" not in answer(head, PATH, session()).content


@given(st.lists(st.binary(max_size=20), max_size=10))
def test_heads_in_any_chunks_are_taken_whole(pieces: list[bytes]) -> None:
    received = bytearray()
    heads = []
    for piece in pieces:
        received += piece
        while (head := take_head(received)) is not None:
            heads.append(head)
    everything = b"".join(pieces)
    assert b"".join(head + b"\r\n\r\n" for head in heads) + received == everything
    assert b"\r\n\r\n" not in received
