"""The gateway: a live job's calls, judged, and sent to Buildkite with the real token."""

import ssl
import threading
from collections import Counter
from collections.abc import Mapping
from functools import cache

from bootstrap.agent_api.gateway import permit
from bootstrap.agent_api.gateway.uploads import Uploads
from bootstrap.agent_api.gateway.upstream import Outgoing, Upstream, send
from bootstrap.agent_api.model import AgentApiGrant, Answer, Call, OwnIds, refusal
from bootstrap.agent_api.routes import Kind, Route
from bootstrap.agent_api.spool import Spool, Storage
from bootstrap.buildkite.agent_api import request_headers
from bootstrap.host.proxy import ProxyFor, no_proxy
from bootstrap.secret import Secret

# In memory: a live job is not given the host's disk. One body has at most 8 MiB, an answer 16.
STORAGE = Storage(directory=None, total=32 << 20)


class Gateway:
    """A bootstrap.agent_api.model.Backend for one job.

    `agent` is the agent's own environment, which has the endpoint and the headers of requests;
    `token` the job's real access token, which nothing but calls to that endpoint gets.
    """

    def __init__(
        self,
        grant: AgentApiGrant,
        own: OwnIds,
        agent: Mapping[str, str],
        token: Secret,
        *,
        proxy_for: ProxyFor = no_proxy,
    ) -> None:
        self._grant = grant
        self._own = own
        self._upstream = Upstream(
            endpoint=agent.get("BUILDKITE_AGENT_ENDPOINT", "").rstrip("/"),
            headers=request_headers(agent),
            token=token,
            proxy_for=proxy_for,
            context=cache(ssl.create_default_context),
        )
        self._spool = Spool(STORAGE)
        self._mutex = threading.Lock()
        self._usage: Counter[str] = Counter()
        self._uploads = Uploads()

    @property
    def spool(self) -> Spool:
        """Where bodies are kept."""
        return self._spool

    def usage(self) -> dict[str, int]:
        """Return how often which call was sent to Buildkite; tokens and secrets by their names."""
        with self._mutex:
            return dict(self._usage)

    def refuses(self, route: Route) -> str:
        """Return why the rule allows no such call, or ""."""
        return permit.refuses(route, self._grant)

    def answer(self, asked: Call) -> Answer:
        """Return Buildkite's answer to a call that the rule allows. Raises MalformedError."""
        verdict = permit.judged(asked, self._grant, self._own)
        if isinstance(verdict, str):
            return refusal(verdict)
        if asked.route.kind is Kind.ARTIFACTS_UPDATE:
            if why := self._uploads.refuses(asked):
                return refusal(why)
            asked.body.seek(0)
        with self._mutex:
            self._usage[verdict.what] += 1
        outgoing = Outgoing(
            method=asked.method,
            target=verdict.target,
            headers=asked.headers,
            body=asked.body if verdict.body is None else verdict.body,
            size=asked.size if verdict.body is None else len(verdict.body),
        )
        answer = send(self._upstream, outgoing, self._spool)
        if asked.route.kind is Kind.ARTIFACTS_CREATE:
            self._uploads.registered(answer)
        return answer
