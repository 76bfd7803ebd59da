"""The head of an HTTP request, parsed strictly: what two readers could read differently is refused.

Why no library: docs/agent-api.md#why-no-http-library
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote

MAX_HEAD = 16384  # bytes of request line and headers
MAX_PARAMETERS = 16

_LINE = re.compile(rb"([A-Z]{1,16}) (/[!-~]{0,8191}) HTTP/1\.([01])")
# The spaces around a value are in it: if two parts of the pattern could take them, one request full
# of spaces would keep a processor for a second, and all threads of this process waiting.
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}):([\t -~]*)")
_PART = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+")
_QUERY = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*")
_LENGTH = re.compile(r"[0-9]{1,15}")
# What a server behind another could take for a way up, however it is encoded.
_UPWARDS = {".", ".."}
_SEPARATOR = re.compile(r"[/\\]")
_TWICE = re.compile(r"%(2e|2f|5c|25)", re.IGNORECASE)
_BODILESS = {"GET", "DELETE", "HEAD", "OPTIONS"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One request but for its body, which has exactly `length` bytes."""

    method: str
    path: tuple[str, ...]  # decoded
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in small letters
    length: int
    keep: bool  # whether another request may follow on the connection
    expects: bool  # the client waits for 100 Continue before it sends the body


class BadRequestError(ValueError):
    """It cannot be read. The connection has to be closed: where it ends is not known."""

    def __init__(self, message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.status = status


def parse(head: bytes) -> Request:
    """Return what the bytes before the empty line mean. Raises BadRequestError."""
    line, *rest = head.split(b"\r\n")
    first = _LINE.fullmatch(line)
    if not first:
        raise BadRequestError("expected a line such as `POST /jobs/… HTTP/1.1`")
    headers = _headers(rest)
    method, target, minor = first[1].decode(), first[2].decode(), first[3]
    if minor == b"1" and not headers.get("host"):
        raise BadRequestError("HTTP/1.1 needs the header Host")
    length = _length(method, headers)
    raw_path, _, raw_query = target.partition("?")
    options = {option.strip().lower() for option in headers.get("connection", "").split(",")}
    return Request(
        method=method,
        path=_path(raw_path),
        query=_query(raw_query),
        headers=headers,
        length=length,
        keep=minor == b"1" and "close" not in options,
        expects=headers.get("expect", "").lower() == "100-continue" and length > 0,
    )


def _headers(lines: list[bytes]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        field = _HEADER.fullmatch(line)
        if not field:
            raise BadRequestError("a header is not `Name: value` on one line of ASCII")
        name = field[1].decode().lower()
        if name in headers:
            raise BadRequestError(f"the header {name} is there twice")
        headers[name] = field[2].decode().strip()
    return headers


def _length(method: str, headers: Mapping[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise BadRequestError(
            "a body needs Content-Length instead of Transfer-Encoding", HTTPStatus.LENGTH_REQUIRED
        )
    text = headers.get("content-length", "0")
    if not _LENGTH.fullmatch(text):
        raise BadRequestError("Content-Length is not a number of bytes")
    if int(text) and method in _BODILESS:
        raise BadRequestError(f"{method} has no body here")
    return int(text)


def _path(raw: str) -> tuple[str, ...]:
    parts = raw.removeprefix("/").split("/")
    return tuple(_part(part) for part in parts)


def _part(raw: str) -> str:
    if not _PART.fullmatch(raw):
        raise BadRequestError("a part of the path is empty, or is not percent-encoded")
    part = _decoded(raw)
    if _UPWARDS & set(_SEPARATOR.split(part)) or _TWICE.search(part) or _has_control(part):
        raise BadRequestError(
            "a part of the path has a dot or two as a name, an encoding in an encoding, or control "
            "characters"
        )
    return part


def _query(raw: str) -> dict[str, str]:
    if not _QUERY.fullmatch(raw):
        raise BadRequestError("the query is not percent-encoded")
    try:
        pairs = parse_qsl(
            raw, keep_blank_values=True, strict_parsing=bool(raw), errors="strict",
            max_num_fields=MAX_PARAMETERS,
        )  # fmt: skip
    except ValueError:
        raise BadRequestError(
            f"the query is not at most {MAX_PARAMETERS} times `name=value`"
        ) from None
    query = dict(pairs)
    if len(query) < len(pairs):
        raise BadRequestError("a parameter of the query is there twice")
    if any(map(_has_control, (*query, *query.values()))):
        raise BadRequestError("the query has control characters")
    return query


def _decoded(raw: str) -> str:
    try:
        return unquote(raw, errors="strict")
    except UnicodeDecodeError:
        raise BadRequestError("a part of the path is not UTF-8") from None


def _has_control(text: str) -> bool:
    return any(unicodedata.category(char) == "Cc" for char in text)
