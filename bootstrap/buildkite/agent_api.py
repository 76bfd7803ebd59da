"""The calls of Buildkite's agent API that a host needs, with a job's own token.

See docs/agent-contract.md#signed-tokens
"""

import json
from collections.abc import Mapping
from typing import Any

from bootstrap.buildkite.http import FAILURES, json_of
from bootstrap.errors import CannotStart
from bootstrap.host.proxy import Proxy, ProxyFor, no_proxy
from bootstrap.secret import Secret

_HEADER_PREFIX = "BUILDKITE_REQUEST_HEADER_"


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


def _fetched(
    url: str,
    problem: str,
    proxy: Proxy | None,
    data: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Any:  # noqa: ANN401 - JSON
    """Return the JSON of the reply. Raises CannotStart that begins with `problem`."""
    try:
        return json_of(url, data=data, headers=headers, proxy=proxy)
    except FAILURES as failed:
        through = f", through the proxy {proxy.address} (aws.https-proxy)" if proxy else ""
        raise CannotStart(
            f"{problem}{through}: {failed}",
            hint="Check that this host reaches the agent's endpoint and policy.issuer. Airlock "
            "runs no job without their reply.",
        ) from failed
