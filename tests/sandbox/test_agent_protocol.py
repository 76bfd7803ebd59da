"""Framing and verdicts, against the numbers of draft-ietf-sshm-ssh-agent, section 6."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.sandbox.agent_protocol import (
    FAILURE,
    MAX_MESSAGE,
    MalformedMessage,
    missing,
    refused,
)

# Section 6.1: requests that change what the agent holds, or how it works.
FORBIDDEN = (17, 18, 19, 20, 21, 22, 23, 25, 26)
BIND = b"session-bind@openssh.com"
strings = st.binary(max_size=200)


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def frame(kind: int, body: bytes = b"") -> bytes:
    return string(bytes([kind]) + body)


def messages(stream: bytes, sizes: list[int]) -> list[bytes]:
    """Read as the filter does: never more than is missing, whatever pieces it comes in."""
    found, message, at = [], b"", 0
    while at < len(stream):
        size = min(missing(message), sizes.pop() if sizes else 1 << 20)
        message += stream[at : at + size]
        at += size
        if missing(message) == 0:
            found.append(message)
            message = b""
    return found


@given(st.lists(st.binary(min_size=1, max_size=300)), st.lists(st.integers(1, 40)))
def test_a_stream_is_the_same_messages_in_whatever_pieces_it_comes(
    bodies: list[bytes], sizes: list[int]
) -> None:
    frames = [string(body) for body in bodies]
    assert messages(b"".join(frames), sizes) == frames


@given(st.binary(max_size=400))
def test_no_bytes_make_more_than_a_verdict(data: bytes) -> None:
    try:
        whole = missing(data) == 0
    except MalformedMessage:
        return
    if whole:
        assert refused(data) is None or isinstance(refused(data), str)


@pytest.mark.parametrize("length", [0, MAX_MESSAGE + 1, 0xFFFFFFFF])
def test_no_message_is_empty_or_longer_than_openssh_takes(length: int) -> None:
    with pytest.raises(MalformedMessage):
        missing(struct.pack(">I", length))


def test_the_longest_message_is_openssh_s() -> None:
    assert missing(struct.pack(">I", 256 * 1024)) == 256 * 1024


@given(strings, strings, st.integers(0, 0xFFFFFFFF))
def test_a_signature_may_be_asked_for(key: bytes, data: bytes, flags: int) -> None:
    assert refused(frame(13, string(key) + string(data) + struct.pack(">I", flags))) is None


@given(strings, strings, strings, st.booleans())
def test_a_connection_may_be_bound(host: bytes, session: bytes, sig: bytes, fwd: bool) -> None:  # noqa: FBT001
    body = string(BIND) + string(host) + string(session) + string(sig) + bytes([fwd])
    assert refused(frame(27, body)) is None


def test_keys_may_be_listed() -> None:
    assert refused(frame(11)) is None


@given(st.integers(0, 255).filter(lambda kind: kind not in (11, 13, 27)), st.binary(max_size=99))
def test_every_other_type_is_refused(kind: int, body: bytes) -> None:
    assert refused(frame(kind, body)) is not None


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_what_changes_the_agent_is_refused_by_name(kind: int) -> None:
    name = refused(frame(kind, string(b"/usr/lib/evil.so") + string(b"")))
    assert name is not None
    assert not name.startswith(("type", "malformed"))
    assert "evil" not in name


@given(st.text(max_size=40).map(str.encode).filter(lambda name: name != BIND), strings)
def test_every_other_extension_is_refused(name: bytes, rest: bytes) -> None:
    assert refused(frame(27, string(name) + rest)) is not None


@given(strings, strings, st.binary(min_size=1, max_size=20))
def test_nothing_follows_a_request(key: bytes, data: bytes, more: bytes) -> None:
    sign = string(key) + string(data) + bytes(4)
    assert refused(frame(13, sign + more)) == "malformed sign-request"
    assert refused(frame(11, more)) == "malformed request-identities"
    bind = string(BIND) + string(key) + string(data) + string(b"") + b"\0"
    assert refused(frame(27, bind + more)) == "malformed extension"


@given(strings, strings, st.data())
def test_no_request_is_cut_short(key: bytes, data: bytes, draw: st.DataObject) -> None:
    sign = string(key) + string(data) + bytes(4)
    end = draw.draw(st.integers(0, len(sign) - 1))
    assert refused(frame(13, sign[:end])) == "malformed sign-request"


def test_a_refusal_is_the_protocol_s_failure() -> None:
    assert frame(5) == FAILURE
