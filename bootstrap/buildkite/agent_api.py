"""Buildkite's agent API as far as a host needs it, with a job's own token.

What there is: docs/agent-contract.md#signed-tokens
"""

import json
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError

from bootstrap.errors import CannotStart
from bootstrap.retry import ONE_CALL, persist
from bootstrap.secret import Secret
from bootstrap.text import printable

PATIENCE = 30.0
_REPLAYED = "BUILDKITE_REQUEST_HEADER_"
# No proxy of the environment and no redirect: the token goes only where the agent's own goes.
_OPENER = urllib.request.OpenerDirector()
for _handler in (
    urllib.request.HTTPHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPErrorProcessor,
    urllib.request.HTTPDefaultErrorHandler,
):
    _OPENER.add_handler(_handler())  # fmt: skip


class AgentApi:
    """Calls in the name of one job. Throttling and 5xx are retried with jitter."""

    def __init__(self, job_id: str, agent: Mapping[str, str], token: Secret) -> None:
        self._job = job_id.replace(".", "%2E")
        self._endpoint = agent.get("BUILDKITE_AGENT_ENDPOINT", "").rstrip("/")
        self._token = token
        self._headers = {
            name.removeprefix(_REPLAYED).replace("_", "-").title(): value
            for name, value in agent.items()
            if name.startswith(_REPLAYED)
        }

    def oidc_token(self, audience: str, claims: tuple[str, ...]) -> Secret:
        """Return a token that Buildkite signed for this job. Raises CannotStart."""
        asked = {"audience": audience, "claims": list(claims)}
        return Secret(self._call("oidc/tokens", asked, "sign a token")["token"])

    def annotate(self, body: str, *, context: str) -> None:
        """Put an error on the build's page. Raises CannotStart."""
        note = {"body": body, "context": context, "style": "error"}
        self._call("annotations", note, "annotate the build")

    def _call(self, path: str, body: Mapping[str, Any], what: str) -> Any:  # noqa: ANN401 - JSON
        url = f"{self._endpoint}/jobs/{self._job}/{path}"
        authorization = {"Authorization": f"Token {self._token.reveal()}"}
        headers = {**self._headers, **authorization, "Content-Type": "application/json"}
        return _fetched(url, f"Buildkite did not {what}", json.dumps(body).encode(), headers)


def document(url: str) -> Any:  # noqa: ANN401 - JSON
    """Return a public JSON document. Raises CannotStart."""
    return _fetched(url, f"{url} did not answer")


class _Unwilling(OSError):
    """An HTTP status other than success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"HTTP {status} {printable(message, limit=300)}")
        self.status = status


def _fetched(
    url: str, problem: str, data: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Any:  # noqa: ANN401 - JSON
    """Return the JSON that answers. Raises CannotStart that begins with `problem`."""
    try:
        request = urllib.request.Request(url, data, dict(headers or {}))  # noqa: S310
        if request.type not in {"http", "https"}:
            raise ValueError(f"{request.type} is not http")  # noqa: TRY301
        return persist(lambda: _once(request), transient=_is_transient, patience=PATIENCE)
    except (OSError, HTTPException, ValueError) as failed:
        raise CannotStart(
            f"{problem}: {failed}",
            hint="Does this host reach the agent's endpoint? A job without an answer from there "
            "is not run.",
        ) from failed


def _once(request: urllib.request.Request) -> Any:  # noqa: ANN401 - JSON
    try:
        with _OPENER.open(request, timeout=ONE_CALL) as answer:
            content = answer.read(1 << 20)
    except HTTPError as refused:
        with refused:
            raise _Unwilling(refused.code, refused.read(1000).decode(errors="replace")) from None
    return json.loads(content) if content.strip() else {}


def _is_transient(failed: BaseException) -> bool:
    if isinstance(failed, _Unwilling):
        return failed.status == 429 or failed.status >= 500
    return isinstance(failed, OSError | HTTPException)
