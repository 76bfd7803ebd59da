"""What the credential endpoint answers to each request: bytes to bytes, without a socket.

What SDKs accept: docs/aws.md#what-the-endpoint-answers
"""

import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from bootstrap.aws.model import Session

MAX_HEAD = 8192  # bytes of request line and headers; SDKs send a few hundred

_REQUEST_LINE = re.compile(rb"([!-~]{1,32}) ([!-~]{1,4096}) HTTP/1\.([01])")
# Without a part for the spaces before a value: a request full of spaces would be matched for long,
# while all threads of this process wait.
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00\r\n]*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One response, and whether the connection may go on after it."""

    content: bytes
    keep: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class _Request:
    method: str
    target: bytes
    keep: bool


def take_head(received: bytearray) -> bytes | None:
    """Remove the first complete request head from `received`; None if there is none yet."""
    head, end, _ = received.partition(b"\r\n\r\n")
    if not end:
        return None
    del received[: len(head) + len(end)]
    return bytes(head)


def answer(head: bytes, path: str, session: Session | None) -> Answer:
    """Answer one request head: the session for GET `path`, a JSON error for anything else.

    None as the session means that it has expired: 503 makes SDKs try again, 4xx would be final.
    """
    request = _parse(head)
    if request is None:
        return refusal(HTTPStatus.BAD_REQUEST, "BadRequest", "this is not HTTP/1.1")
    if request.method not in {"GET", "HEAD"}:
        return refusal(HTTPStatus.METHOD_NOT_ALLOWED, "MethodNotAllowed", "only GET and HEAD")
    if not hmac.compare_digest(request.target, path.encode()):
        return _reply(request, HTTPStatus.NOT_FOUND, _error("NotFound", "no such credentials"))
    if session is None:
        document = _error("CredentialsUnavailable", "the session ended and could not be renewed")
        return _reply(request, HTTPStatus.SERVICE_UNAVAILABLE, document)
    return _reply(request, HTTPStatus.OK, body(session))


def refusal(status: HTTPStatus, code: str, message: str) -> Answer:
    """Answer a malformed or unexpected request with an error, and close the connection."""
    request = _Request(method="GET", target=b"", keep=False)
    return _reply(request, status, _error(code, message))


def body(session: Session) -> dict[str, str]:
    """Return the document that every SDK parses: one of two places that reveal a session."""
    return {
        "AccessKeyId": session.access_key_id,
        "SecretAccessKey": session.secret_access_key.reveal(),
        "Token": session.session_token.reveal(),
        "Expiration": f"{session.expires:%Y-%m-%dT%H:%M:%SZ}",
        "RoleArn": session.role,
    }


def _error(code: str, message: str) -> dict[str, str]:
    """Return both spellings: Go and Rust read lower case, JavaScript reads upper case."""
    return {"code": code, "message": message, "Code": code, "Message": message}


def _parse(head: bytes) -> _Request | None:
    line, *rest = head.split(b"\r\n")
    first = _REQUEST_LINE.fullmatch(line)
    fields = [_HEADER.fullmatch(field) for field in rest]
    if not first or not all(fields):
        return None
    headers: dict[bytes, bytes] = {}
    for field in filter(None, fields):
        name, value = field[1].lower(), field[2].strip()
        headers[name] = headers[name] + b"," + value if name in headers else value
    return _Request(
        method=first[1].decode(), target=first[2], keep=_keeps(headers, minor=int(first[3]))
    )


def _keeps(headers: Mapping[bytes, bytes], *, minor: int) -> bool:
    """Return whether another request may follow: after a body, it would be taken for one."""
    if b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0":
        return False
    options = {option.strip() for option in headers.get(b"connection", b"").lower().split(b",")}
    return b"close" not in options and (minor == 1 or b"keep-alive" in options)


def _reply(request: _Request, status: HTTPStatus, document: Mapping[str, str]) -> Answer:
    content = json.dumps(document).encode()
    lines = [
        f"HTTP/1.1 {status} {status.phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        "Cache-Control: no-store",
        f"Connection: {'keep-alive' if request.keep else 'close'}",
        *(["Allow: GET, HEAD"] if status is HTTPStatus.METHOD_NOT_ALLOWED else []),
    ]
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return Answer(content=head + (b"" if request.method == "HEAD" else content), keep=request.keep)
