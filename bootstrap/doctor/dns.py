"""One question to a resolver, and what its answer means (RFC 1035, section 4.1)."""

import struct

_HEADER = struct.Struct("!HHHHHH")
_RECURSION_DESIRED = 0x0100
_RESPONSE, _CODE = 0x8000, 0x000F
_A, _IN = 1, 1
_CODES = {
    1: "FORMERR: it does not understand the question",
    2: "SERVFAIL: it could not find out",
    3: "NXDOMAIN: there is no such name",
    5: "REFUSED: it does not answer this host",
}


def question(name: str, number: int) -> bytes:
    """Return the question for the IPv4 addresses of a name. Raises ValueError for no such name.

    `number` is from 0 to 65535.
    """
    labels = [label.encode("idna") for label in name.rstrip(".").split(".")]
    if not all(0 < len(label) < 64 for label in labels) or sum(map(len, labels)) > 240:
        raise ValueError(f"{name!r} is not a host name")
    asked = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    head = _HEADER.pack(number, _RECURSION_DESIRED, 1, 0, 0, 0)
    return head + asked + struct.pack("!HH", _A, _IN)


def problem(answer: bytes, number: int) -> str | None:
    """Return why a resolver's answer has no address, "" if it has one.

    None if it is not the answer to this question.
    """
    if len(answer) < _HEADER.size:
        return None
    received, flags, _, answers, _, _ = _HEADER.unpack_from(answer)
    if received != number or not flags & _RESPONSE:
        return None
    if code := flags & _CODE:
        return _CODES.get(code, f"it failed with code {code}")
    return "" if answers else "it knows no address of the name"
