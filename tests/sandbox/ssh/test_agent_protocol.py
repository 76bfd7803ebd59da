"""Framing and refusals, against the numbers of draft-ietf-sshm-ssh-agent, section 6."""

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.sandbox.ssh.agent_protocol import (
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
    """Read as the filter does: never more than is missing, in pieces of these sizes."""
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
def test_stream_cut_anywhere_yields_the_same_messages(
    bodies: list[bytes], sizes: list[int]
) -> None:
    frames = [string(body) for body in bodies]
    assert messages(b"".join(frames), sizes) == frames


@given(st.binary(max_size=400))
def test_arbitrary_bytes_lack_some_or_are_malformed(data: bytes) -> None:
    with suppress(MalformedMessage):
        assert missing(data) >= 0


@given(st.binary(min_size=1, max_size=400))
def test_arbitrary_message_is_passed_or_refused_by_name(data: bytes) -> None:
    message = string(data)
    assert missing(message) == 0
    assert isinstance(refused(message), str | None)


@pytest.mark.parametrize("length", [0, MAX_MESSAGE + 1, 0xFFFFFFFF])
def test_length_of_zero_or_above_maximum_is_malformed(length: int) -> None:
    with pytest.raises(MalformedMessage, match=f"got a message of {length} bytes, expected 1 to"):
        missing(struct.pack(">I", length))


def test_maximal_length_equals_that_of_openssh() -> None:
    assert missing(struct.pack(">I", 256 * 1024)) == 256 * 1024


@given(strings, strings, st.integers(0, 0xFFFFFFFF))
def test_sign_request_is_passed(key: bytes, data: bytes, flags: int) -> None:
    assert refused(frame(13, string(key) + string(data) + struct.pack(">I", flags))) is None


@given(strings, strings, strings, st.booleans())
def test_session_bind_is_passed(host: bytes, session: bytes, sig: bytes, fwd: bool) -> None:  # noqa: FBT001
    body = string(BIND) + string(host) + string(session) + string(sig) + bytes([fwd])
    assert refused(frame(27, body)) is None


def test_request_identities_is_passed() -> None:
    assert refused(frame(11)) is None


@given(st.integers(0, 255).filter(lambda kind: kind not in (11, 13, 27)), st.binary(max_size=99))
def test_any_other_message_type_is_refused(kind: int, body: bytes) -> None:
    assert refused(frame(kind, body)) is not None


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_message_that_changes_agent_is_refused_by_name(kind: int) -> None:
    name = refused(frame(kind, string(b"/usr/lib/evil.so") + string(b"")))
    assert name is not None
    assert not name.startswith(("type", "malformed"))
    assert "evil" not in name


@given(st.text(max_size=40).map(str.encode).filter(lambda name: name != BIND), strings)
def test_any_other_extension_is_refused(name: bytes, rest: bytes) -> None:
    assert refused(frame(27, string(name) + rest)) is not None


@given(strings, strings, st.binary(min_size=1, max_size=20))
def test_request_with_trailing_bytes_is_malformed(key: bytes, data: bytes, more: bytes) -> None:
    sign = string(key) + string(data) + bytes(4)
    assert refused(frame(13, sign + more)) == "malformed sign-request"
    assert refused(frame(11, more)) == "malformed request-identities"
    bind = string(BIND) + string(key) + string(data) + string(b"") + b"\0"
    assert refused(frame(27, bind + more)) == "malformed extension"


@given(strings, strings, st.data())
def test_request_cut_short_is_malformed(key: bytes, data: bytes, draw: st.DataObject) -> None:
    sign = string(key) + string(data) + bytes(4)
    end = draw.draw(st.integers(0, len(sign) - 1))
    assert refused(frame(13, sign[:end])) == "malformed sign-request"


def test_refusal_equals_the_protocols_failure_message() -> None:
    assert frame(5) == FAILURE
