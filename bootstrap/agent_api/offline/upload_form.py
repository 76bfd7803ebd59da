"""The form in which an agent uploads one file: some fields, and the file as the last part.

How the agent writes it: docs/agent-api.md#artifacts
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from bootstrap.agent_api.model import MalformedError

MAX_FIELDS = 1 << 16  # bytes of everything before the file

_TYPE = re.compile(r'multipart/form-data; ?boundary="?([0-9A-Za-z\'()+_,./:=?-]{1,70})"?')
_NAME = re.compile(rb'(?i)content-disposition: ?form-data; ?name="([^"\r\n]{1,100})"')


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """The fields, and where in the body the file is."""

    fields: Mapping[str, str]
    start: int
    size: int  # bytes


def parse(content_type: str, body: BinaryIO, size: int) -> Form:
    """Return what a body of `size` bytes has, without reading its file. Raises MalformedError."""
    found = _TYPE.fullmatch(content_type)
    if not found:
        raise MalformedError("expected multipart/form-data with a boundary")
    delimiter = b"--" + found[1].encode()
    end = size - len(delimiter) - len(b"\r\n--\r\n")
    head = body.read(min(size, MAX_FIELDS))
    if not head.startswith(delimiter + b"\r\n"):
        raise MalformedError("the form does not begin with its boundary")
    fields: dict[str, str] = {}
    position = len(delimiter) + 2
    while True:
        headers, position = _until(head, b"\r\n\r\n", position)
        name = _NAME.search(headers)
        if not name:
            raise MalformedError("a part of the form has no name")
        if b"filename=" in headers.lower():
            break
        value, position = _until(head, b"\r\n" + delimiter + b"\r\n", position)
        fields[_text(name[1])] = _text(value)
    body.seek(max(0, end))
    if end < position or body.read() != b"\r\n" + delimiter + b"--\r\n":
        raise MalformedError("the form does not end with its boundary")
    return Form(fields=fields, start=position, size=end - position)


def _until(head: bytes, end: bytes, position: int) -> tuple[bytes, int]:
    found = head.find(end, position)
    if found < 0:
        raise MalformedError(f"the file does not begin within {MAX_FIELDS} bytes")
    return head[position:found], found + len(end)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise MalformedError("a field of the form is not UTF-8") from None
