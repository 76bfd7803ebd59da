"""What the listener says to every request, as bytes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.credentials.answer import Answer, answer, take_head
from tests.credentials.given import ROLE, session

PATH = "/v1/unguessable"


def asked(head: bytes, *, expired: bool = False) -> tuple[int, dict[str, str], Answer]:
    said = answer(head, PATH, None if expired else session())
    first, _, rest = said.content.partition(b"\r\n")
    body = rest.partition(b"\r\n\r\n")[2]
    return int(first.split()[1]), json.loads(body) if body else {}, said


def test_the_session_in_the_form_every_sdk_reads() -> None:
    status, document, said = asked(f"GET {PATH} HTTP/1.1\r\nHost: 169.254.170.2".encode())
    assert status == 200
    assert said.keep
    assert set(document) == {
        "AccessKeyId", "SecretAccessKey", "Token", "Expiration", "RoleArn",
    }  # fmt: skip
    assert document["RoleArn"] == ROLE
    assert document["Expiration"].endswith("Z")


def test_an_expired_session_is_worth_another_try_and_says_so_twice() -> None:
    status, document, _ = asked(f"GET {PATH} HTTP/1.1".encode(), expired=True)
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
def test_everything_else_is_refused_without_a_secret(head: bytes, status: int) -> None:
    got, _, said = asked(head)
    assert got == status
    assert b"the-secret-key" not in said.content


def test_head_tells_no_secret() -> None:
    said = answer(f"HEAD {PATH} HTTP/1.1".encode(), PATH, session())
    assert said.content.startswith(b"HTTP/1.1 200 ")
    assert b"the-secret-key" not in said.content


@pytest.mark.parametrize(
    ("fields", "keep"),
    [
        ("HTTP/1.1", True),
        ("HTTP/1.1\r\nConnection: close", False),
        ("HTTP/1.0", False),
        ("HTTP/1.0\r\nConnection: keep-alive", True),
        ("HTTP/1.1\r\nContent-Length: 5", False),
        ("HTTP/1.1\r\nTransfer-Encoding: chunked", False),
    ],
)
def test_when_the_connection_goes_on(fields: str, keep: bool) -> None:  # noqa: FBT001
    assert answer(f"GET {PATH} {fields}".encode(), PATH, session()).keep is keep


@given(st.binary(max_size=300))
def test_no_bytes_are_a_traceback_or_a_secret(head: bytes) -> None:
    assert b"the-secret-key" not in answer(head, PATH, session()).content


@given(st.lists(st.binary(max_size=20), max_size=10))
def test_heads_come_out_whole_however_they_arrive(pieces: list[bytes]) -> None:
    said = bytearray()
    heads = []
    for piece in pieces:
        said += piece
        while (head := take_head(said)) is not None:
            heads.append(head)
    everything = b"".join(pieces)
    assert b"".join(head + b"\r\n\r\n" for head in heads) + said == everything
    assert b"\r\n\r\n" not in said
