"""The requests that a job may send to its ssh agent: list keys and sign.

Framing and numbers are those of the agent protocol (draft-ietf-sshm-ssh-agent, sections 3 and 6)
and of OpenSSH's extension `session-bind@openssh.com` (PROTOCOL.agent, section 1). Everything else
of the protocol adds keys, removes keys, locks the agent or loads libraries.
"""

from collections.abc import Callable, Mapping

MAX_MESSAGE = 256 * 1024  # bytes; OpenSSH's own AGENT_MAX_LEN
LENGTH = 4  # bytes of the length in front of every message

SIGN_REQUEST = 13
FAILURE = b"\x00\x00\x00\x01\x05"  # a whole SSH_AGENT_FAILURE
SIGNED = 14  # the type of a signature's answer

_REQUEST_IDENTITIES = 11
_EXTENSION = 27
_SESSION_BIND = b"\x00\x00\x00\x18session-bind@openssh.com"  # as a string of RFC 4251

_NAMES = {
    _REQUEST_IDENTITIES: "request-identities",
    SIGN_REQUEST: "sign-request",
    17: "add-identity",
    18: "remove-identity",
    19: "remove-all-identities",
    20: "add-smartcard-key",
    21: "remove-smartcard-key",
    22: "lock",
    23: "unlock",
    25: "add-id-constrained",
    26: "add-smartcard-key-constrained",
    _EXTENSION: "extension",
}


class MalformedMessage(ValueError):
    """The bytes are not a message of the protocol, or it is longer than allowed."""


def missing(received: bytes | bytearray) -> int:
    """Return the least number of bytes that the message beginning with `received` lacks.

    0 means that it is whole. Raises MalformedMessage if its length is 0 or above MAX_MESSAGE.
    """
    if len(received) < LENGTH:
        return LENGTH - len(received)
    length = int.from_bytes(received[:LENGTH], "big")
    if not 1 <= length <= MAX_MESSAGE:
        raise MalformedMessage(f"got a message of {length} bytes, expected 1 to {MAX_MESSAGE}")
    return max(0, LENGTH + length - len(received))


def refused(message: bytes | bytearray) -> str | None:
    """Return the name under which a whole message is refused; None if it may reach the agent.

    The name never contains bytes of the message.
    """
    kind, body = message[LENGTH], bytes(message[LENGTH + 1 :])
    name = _NAMES.get(kind, f"type {kind}")
    if kind not in _PASSED or (kind == _EXTENSION and not body.startswith(_SESSION_BIND)):
        return name
    return None if _PASSED[kind](body) else f"malformed {name}"


def _is_request_identities(body: bytes) -> bool:
    return body == b""


def _is_sign_request(body: bytes) -> bool:
    """Check for: string key, string data, uint32 flags."""
    return _is_strings(body, 2, followed_by=4)


def _is_session_bind(body: bytes) -> bool:
    """Check for: name, string hostkey, string session id, string signature, bool."""
    return _is_strings(body, 4, followed_by=1)


def _is_strings(data: bytes, count: int, *, followed_by: int) -> bool:
    """Check that `data` is `count` strings (RFC 4251, section 5), then `followed_by` bytes."""
    at = 0
    for _ in range(count):
        if len(data) < at + LENGTH:
            return False
        at += LENGTH + int.from_bytes(data[at : at + LENGTH], "big")
    return len(data) == at + followed_by


_PASSED: Mapping[int, Callable[[bytes], bool]] = {
    _REQUEST_IDENTITIES: _is_request_identities,
    SIGN_REQUEST: _is_sign_request,
    _EXTENSION: _is_session_bind,
}
