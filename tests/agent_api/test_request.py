"""The parser of requests: whatever it takes has one meaning, and everything else is refused."""

import re
from http import HTTPStatus
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.agent_api.request import BadRequestError, parse

TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=30)
PARTS = TEXTS.filter(lambda part: not {".", ".."} & set(re.split(r"[/\\]", part))).filter(
    lambda part: not re.search("%(2e|2f|5c|25)", part, re.IGNORECASE)
)
JOB = b"POST /jobs/a/data/get HTTP/1.1"


def head(*lines: bytes) -> bytes:
    return b"\r\n".join(lines)


@given(st.lists(PARTS, min_size=1, max_size=6), st.dictionaries(TEXTS, TEXTS, max_size=5))
def test_what_a_client_encodes_arrives(path: list[str], query: dict[str, str]) -> None:
    target = "/" + "/".join(quote(part, safe="") for part in path)
    target += f"?{urlencode(query)}" if query else ""
    request = parse(head(f"GET {target} HTTP/1.1".encode(), b"Host: a"))
    assert request.path == tuple(path)
    assert request.query == query


@given(st.binary(max_size=300))
def test_any_bytes_are_parsed_or_refused(content: bytes) -> None:
    try:
        request = parse(content)
    except BadRequestError as wrong:
        assert 400 <= wrong.status < 500
    else:
        assert not {".", "..", ""} & set(request.path)


@given(st.sampled_from([
    b"Content-Length: 5", b"Content-Length: 6", b"Content-Length:5", b"content-length: 5",
    b"Content-Length: +5", b"Content-Length: 5, 5", b"Content-Length: 0x5", b"Content-Length : 5",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding : chunked", b"Transfer-Encoding: identity",
    b"transfer-encoding:\tchunked", b" Content-Length: 5", b"Host: b", b"X: y",
]).flatmap(lambda one: st.tuples(st.just(one), st.sampled_from([
    b"Content-Length: 5", b"Transfer-Encoding: chunked", b"X: z", b"Content-Length: 7",
]))))  # fmt: skip
def test_a_body_of_two_lengths_or_of_none_is_refused(lines: tuple[bytes, bytes]) -> None:
    try:
        request = parse(head(JOB, b"Host: a", *lines))
    except BadRequestError:
        return
    lengths = [line for line in lines if line.lower().startswith(b"content-length")]
    assert len(lengths) <= 1
    assert request.length == (int(lengths[0].partition(b":")[2]) if lengths else 0)
    assert not any(b"ransfer-" in line for line in lines)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"GET", b"GET  / HTTP/1.1", b"get / HTTP/1.1", b"GET / HTTP/2.0", b"GET / HTTP/1.1 ",
        b"GET http://a/jobs HTTP/1.1", b"GET * HTTP/1.1", b"PRI * HTTP/2.0", b"GET jobs HTTP/1.1",
        head(b"GET / HTTP/1.1"), head(b"GET /a HTTP/1.1"),
        head(b"GET /a HTTP/1.1", b"Host: a", b" folded"),
        head(b"GET /a HTTP/1.1", b"Host: a\nX: y"), head(b"GET /a HTTP/1.1", b"Host: a\0"),
        head(b"GET /a HTTP/1.1", b"Host: a", b"Host: a"), head(b"GET /a HTTP/1.1", b"Host:"),
        head(b"GET /a HTTP/1.1", b"Host: a", b"Content-Length: 1"),
        head(b"GET /a HTTP/1.1", b"Host: a", b"Authorization: b", b"authorization: c"),
    ],
)  # fmt: skip
def test_malformed_heads_are_refused(content: bytes) -> None:
    with pytest.raises(BadRequestError):
        parse(content)


@pytest.mark.parametrize(
    "target",
    ["//a", "/a//b", "/a/", "/a/.", "/a/..", "/a/%2e%2E/b", "/a/%2e", "/a/%00", "/a/%0d%0a",
     "/a/%zz", "/a/%e", "/a/%ff", "/a/b%2F..%2Fc", "/a/..%2F..", "/a/%5C..%5C",
     "/a/%252e%252E", "/a/x%252Fy", "/a/.%2Fb", "/a/b\\c", "/a|b", "/a/%7f", "/a?b", "/a?b=c&b=d",
     "/a?b=%00", "/a?b=c&c", "/a?" + "&".join(f"a{n}=b" for n in range(17)), "/a?b=%ff",
     "/a?b=c#d"],
)  # fmt: skip
def test_paths_and_queries_of_several_meanings_are_refused(target: str) -> None:
    with pytest.raises(BadRequestError):
        parse(head(f"GET {target} HTTP/1.1".encode(), b"Host: a"))


def test_a_chunked_body_is_asked_for_by_its_length() -> None:
    with pytest.raises(BadRequestError, match="Content-Length") as refused:
        parse(head(JOB, b"Host: a", b"Transfer-Encoding: chunked"))
    assert refused.value.status == HTTPStatus.LENGTH_REQUIRED


def test_a_connection_is_kept_unless_it_is_to_close() -> None:
    assert parse(head(JOB, b"Host: a")).keep
    assert not parse(head(JOB, b"Host: a", b"Connection: foo, Close")).keep
    assert not parse(head(b"POST /jobs HTTP/1.0")).keep
