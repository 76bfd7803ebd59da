"""The calls of Buildkite's agent API that a host needs, with a job's own token.

See docs/agent-contract.md#signed-tokens
"""

import json
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError

from bootstrap.errors import CannotStart
from bootstrap.host.proxy import Proxy, ProxyFor, no_proxy
from bootstrap.retry import ONE_CALL, with_retries
from bootstrap.secret import Secret
from bootstrap.text import printable

PATIENCE = 30.0
_HEADER_PREFIX = "BUILDKITE_REQUEST_HEADER_"
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
    """Calls on behalf of one job. Throttling and 5xx are retried with jitter."""

    def __init__(
        self,
        job_id: str,
        agent: Mapping[str, str],
        token: Secret,
        *,
        proxy_for: ProxyFor = no_proxy,
    ) -> None:
        self._job = job_id.replace(".", "%2E")
        self._proxy_for = proxy_for
        self._endpoint = agent.get("BUILDKITE_AGENT_ENDPOINT", "").rstrip("/")
        self._token = token
        self._headers = request_headers(agent)

    def oidc_token(self, audience: str, claims: tuple[str, ...]) -> Secret:
        """Return a token that Buildkite signed for this job. Raises CannotStart."""
        request = {"audience": audience, "claims": list(claims)}
        return Secret(self._call("oidc/tokens", request, "sign a token")["token"])

    def annotate(self, body: str, *, context: str) -> None:
        """Put an error on the build's page. Raises CannotStart."""
        note = {"body": body, "context": context, "style": "error"}
        self._call("annotations", note, "annotate the build")

    def _call(self, path: str, body: Mapping[str, Any], what: str) -> Any:  # noqa: ANN401 - JSON
        url = f"{self._endpoint}/jobs/{self._job}/{path}"
        authorization = {"Authorization": f"Token {self._token.reveal()}"}
        headers = {**self._headers, **authorization, "Content-Type": "application/json"}
        data = json.dumps(body).encode()
        return _fetched(url, f"Buildkite did not {what}", self._proxy_for(url), data, headers)


def request_headers(agent: Mapping[str, str]) -> dict[str, str]:
    """Return the headers by which Buildkite routes this agent's requests: none but its own."""
    return {
        name.removeprefix(_HEADER_PREFIX).replace("_", "-").title(): value
        for name, value in agent.items()
        if name.startswith(f"{_HEADER_PREFIX}BUILDKITE_")
    }


def document(url: str, *, proxy_for: ProxyFor = no_proxy) -> Any:  # noqa: ANN401 - JSON
    """Return a public JSON document. Raises CannotStart."""
    return _fetched(url, f"{url} did not answer", proxy_for(url))


class _HttpFailure(OSError):
    """An HTTP status other than success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"HTTP {status} {printable(message, limit=300)}")
        self.status = status


def _fetched(
    url: str,
    problem: str,
    proxy: Proxy | None,
    data: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Any:  # noqa: ANN401 - JSON
    """Return the JSON of the reply. Raises CannotStart that begins with `problem`."""
    try:
        request = urllib.request.Request(url, data, dict(headers or {}))  # noqa: S310
        if request.type not in {"http", "https"}:
            raise ValueError(f"{request.type} is not http")  # noqa: TRY301
        if proxy:
            _ask(request, proxy)
        return with_retries(lambda: _once(request), transient=_is_transient, patience=PATIENCE)
    except (OSError, HTTPException, ValueError) as failed:
        through = f", through the proxy {proxy.address} (aws.https-proxy)" if proxy else ""
        raise CannotStart(
            f"{problem}{through}: {failed}",
            hint="Check that this host reaches the agent's endpoint and policy.issuer. Airlock "
            "runs no job without their reply.",
        ) from failed


def _ask(request: urllib.request.Request, proxy: Proxy) -> None:
    """Have the proxy CONNECT. Not by ProxyHandler, which would read the environment's no_proxy."""
    request.set_proxy(proxy.address, "http")
    if authorization := proxy.authorization():
        request.add_unredirected_header("Proxy-Authorization", authorization.reveal())


def _once(request: urllib.request.Request) -> Any:  # noqa: ANN401 - JSON
    try:
        with _OPENER.open(request, timeout=ONE_CALL) as reply:
            content = reply.read(1 << 20)
    except HTTPError as refused:
        with refused:
            raise _HttpFailure(refused.code, refused.read(1000).decode(errors="replace")) from None
    return json.loads(content) if content.strip() else {}


def _is_transient(failed: BaseException) -> bool:
    if isinstance(failed, _HttpFailure):
        return failed.status == 429 or failed.status >= 500
    return isinstance(failed, OSError | HTTPException)
