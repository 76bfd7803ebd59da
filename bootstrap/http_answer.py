"""An HTTP answer whose headers are read without Python's parser of mails.

That parser runs through a few hundred objects for each answer. A worker that asks the engine, or
Buildkite for a job, would copy a quarter of a MiB of pages that workers otherwise share
(docs/service.md#memory).
"""

import http.client
import re
from collections.abc import Sequence
from typing import BinaryIO

MOST_HEADERS = 100  # of an answer, as in http.client
LONGEST_LINE = 65536  # bytes, as in http.client

# RFC 9110, section 5: a name is a token, and nothing stands between it and the colon. That a value
# goes on in another line (RFC 9112, section 5.2) is obsolete, and refused.
# The pattern leaves the spaces around a value in it: where several parts could take them, a line
# full of spaces would be matched for hours.
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\r\n\0]*)\r?\n")
_ENDS = ("\r\n", "\n")
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)  # int() takes at most 4300 digits
_WITHOUT_BODY = (http.client.NO_CONTENT, http.client.NOT_MODIFIED)


class Headers:
    """The headers of an answer, in their order; letters of names match in either case."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._pairs = tuple(pairs)

    def items(self) -> list[tuple[str, str]]:
        """Return all names and values."""
        return list(self._pairs)

    def get_all(self, name: str, default: Sequence[str] | None = None) -> Sequence[str] | None:
        """Return all values of a name."""
        return [value for own, value in self._pairs if own.lower() == name.lower()] or default

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the first value of a name."""
        found = self.get_all(name)
        return found[0] if found else default


class HttpAnswer(http.client.HTTPResponse):
    """What an http.client.HTTPConnection takes for its `response_class`.

    Everything but `begin` is http.client's; tests/test_http_answer.py compares the two.
    """

    def begin(self) -> None:
        """Read the status and the headers. Raises OSError and HTTPException."""
        if self.headers is not None:
            return
        version, status, reason = self._read_status()
        while status == http.client.CONTINUE:
            _read(self.fp)
            version, status, reason = self._read_status()
        if not version.startswith("HTTP/1."):
            raise http.client.UnknownProtocol(version)
        self.code = self.status = status
        self.reason = reason.strip()
        self.version = 10 if version == "HTTP/1.0" else 11
        headers = _read(self.fp)  # a stand-in for HTTPMessage: what http.client uses of it
        self.headers = self.msg = headers
        self.chunked = _is_chunked(headers)
        self.chunk_left = None
        self.length = None if self.chunked else _length(headers)
        if status in _WITHOUT_BODY or status < http.client.OK or self._method == "HEAD":
            self.length = 0
        ends_by_closing = self.length is None and not self.chunked
        self.will_close = ends_by_closing or self._check_close()


def _read(answer: BinaryIO) -> Headers:
    """Read the headers and the empty line after them."""
    pairs: list[tuple[str, str]] = []
    while (line := _line(answer)) not in _ENDS:
        if len(pairs) == MOST_HEADERS:
            raise http.client.HTTPException(f"the answer has more than {MOST_HEADERS} headers")
        if (header := _HEADER.fullmatch(line)) is None:
            raise http.client.HTTPException(f"the answer has no header here: {line[:80]!r}")
        pairs.append((header[1], header[2].strip(" \t")))
    return Headers(pairs)


def _line(answer: BinaryIO) -> str:
    line = answer.readline(LONGEST_LINE + 1)
    if len(line) > LONGEST_LINE:
        raise http.client.LineTooLong("header line")
    return line.decode("iso-8859-1")  # as in http.client: each byte is a letter


def _is_chunked(headers: Headers) -> bool:
    coding = headers.get("Transfer-Encoding")
    if coding is not None and coding.lower() != "chunked":
        raise http.client.HTTPException(f"unknown transfer encoding: {coding!r}")
    return coding is not None


def _length(headers: Headers) -> int | None:
    """Return the bytes of the body, None if the answer does not say."""
    given = set(headers.get_all("Content-Length") or ())
    if not given:
        return None
    length = given.pop()
    if given or not _LENGTH.fullmatch(length):
        raise http.client.HTTPException(f"the length of the answer is unclear: {length[:80]!r}")
    return int(length)
