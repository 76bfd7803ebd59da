"""One HTTP request whose answer is JSON: the only caller of urllib.

No proxy of the environment and no redirect: a token goes only where its owner sends it.
"""

import json
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError

from bootstrap.host.proxy import Proxy
from bootstrap.retry import ONE_CALL, with_retries
from bootstrap.text import printable

PATIENCE = 30.0
MAX_ANSWER = 1 << 20  # bytes
FAILURES = (OSError, HTTPException, ValueError)  # what `json_of` raises

_OPENER = urllib.request.OpenerDirector()
for _handler in (
    urllib.request.HTTPHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPErrorProcessor,
    urllib.request.HTTPDefaultErrorHandler,
):
    _OPENER.add_handler(_handler())  # fmt: skip


class HttpFailure(OSError):
    """An HTTP status other than success, with what the server says of it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"HTTP {status} {printable(message, limit=300)}")
        self.status = status


def json_of(
    url: str,
    *,
    data: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    proxy: Proxy | None = None,
    at_most: int = MAX_ANSWER,
) -> Any:  # noqa: ANN401 - JSON
    """Return the JSON of the answer; {} for an empty one. Throttling and 5xx are retried.

    `at_most` are the bytes of an answer. Raises HttpFailure, OSError, HTTPException or ValueError.
    """
    request = urllib.request.Request(url, data, dict(headers or {}))  # noqa: S310
    if request.type not in {"http", "https"}:
        raise ValueError(f"{request.type} is not http")
    if proxy:
        _ask(request, proxy)
    return with_retries(lambda: _once(request, at_most), transient=_is_transient, patience=PATIENCE)


def _ask(request: urllib.request.Request, proxy: Proxy) -> None:
    """Have the proxy CONNECT. Not by ProxyHandler, which would read the environment's no_proxy."""
    request.set_proxy(proxy.address, "http")
    if authorization := proxy.authorization():
        request.add_unredirected_header("Proxy-Authorization", authorization.reveal())


def _once(request: urllib.request.Request, at_most: int) -> Any:  # noqa: ANN401 - JSON
    try:
        with _OPENER.open(request, timeout=ONE_CALL) as reply:
            content = reply.read(at_most + 1)
    except HTTPError as refused:
        with refused:
            raise HttpFailure(refused.code, refused.read(1000).decode(errors="replace")) from None
    if len(content) > at_most:
        raise ValueError(f"the answer has more than {at_most} bytes")
    try:
        return json.loads(content) if content.strip() else {}
    except RecursionError:
        raise ValueError("the answer is nested too deeply") from None


def _is_transient(failed: BaseException) -> bool:
    if isinstance(failed, HttpFailure):
        return failed.status == 429 or failed.status >= 500
    return isinstance(failed, OSError | HTTPException)
