"""Both back ends behind the real server, and clients of it."""

import http.client
import json
import socket
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bootstrap.agent_api.gateway.backend import Gateway
from bootstrap.agent_api.model import AgentApiGrant, Backend, OwnIds, RefusedCall
from bootstrap.agent_api.offline.backend import Offline
from bootstrap.agent_api.serve import serving
from bootstrap.host.proxy import ProxyFor, no_proxy
from bootstrap.secret import Secret
from tests.fakes.control_plane import ControlPlane, JobOrder, job_env
from tests.fakes.control_plane.job import Job
from tests.lab.engine import eventually

PLACEHOLDER = "placeholder-of-one-job"
SECRET = "a secret of the cluster"
AUDIENCE = "sts.amazonaws.com"
EVERYTHING = AgentApiGrant(
    oidc_audiences=(AUDIENCE,),
    secrets=("CONTRACT",),
    meta_data=True,
    artifacts=True,
    annotations=True,
    pipeline_upload=True,
    steps=True,
    cancel=True,
    caches=True,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """One server, and what it showed and refused."""

    port: int
    own: OwnIds
    env: Mapping[str, str]
    token: str = PLACEHOLDER
    refused: list[RefusedCall] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    offline: Offline | None = None
    gateway: Gateway | None = None
    job: Job | None = None
    control: ControlPlane | None = None
    directory: Path | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def refusals(self, count: int) -> list[RefusedCall]:
        """Return what was reported, once it is as much: a report may come after the answer."""
        eventually(lambda: len(self.refused) >= count, f"{count} refused calls are reported")
        return self.refused

    def dial(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def call(
        self,
        method: str,
        path: str,
        document: Any = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> tuple[int, Any]:
        """Make one call; return its status and its JSON, or its bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        content = body if document is None else json.dumps(document).encode()
        given = {"Authorization": f"Token {self.token if token is None else token}"}
        connection.request(method, path, content, {**given, **(headers or {})})
        with connection.getresponse() as response:
            answer = response.read()
            status, kind = response.status, response.getheader("Content-Type", "")
        connection.close()
        return status, json.loads(answer) if answer and kind == "application/json" else answer

    def job_call(
        self, method: str, path: str, document: Any = None, **more: Any
    ) -> tuple[int, Any]:
        return self.call(method, f"/jobs/{self.own.job}/{path}", document, **more)


def is_harmless(text: str) -> bool:
    """Say whether a terminal only shows the text: no control, format or surrogate character."""
    hidden = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    return not any(unicodedata.category(char) in hidden for char in text)


def _own(env: Mapping[str, str]) -> OwnIds:
    return OwnIds(
        job=env["BUILDKITE_JOB_ID"], build=env["BUILDKITE_BUILD_ID"], step=env["BUILDKITE_STEP_ID"]
    )


def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=128)


@contextmanager
def served_by(backend: Backend, *, job: str, refused: list[RefusedCall]) -> Iterator[int]:
    """Serve any back end; yields the port."""
    opened = listener()
    port = int(opened.getsockname()[1])
    token = Secret(PLACEHOLDER)
    with serving(opened, backend, job_id=job, token=token, refused=refused.append):
        yield port


@contextmanager
def offline(directory: Path, **options: Any) -> Iterator[Served]:
    """Serve a replay."""
    env = job_env("true")
    opened = listener()
    port = int(opened.getsockname()[1])
    shown: list[str] = []
    refused: list[RefusedCall] = []
    backend = Offline(
        directory, _own(env), base_url=f"http://127.0.0.1:{port}", env=env, show=shown.append,
        **options,
    )  # fmt: skip
    job, token = env["BUILDKITE_JOB_ID"], Secret(PLACEHOLDER)
    with serving(opened, backend, job_id=job, token=token, refused=refused.append):
        yield Served(
            port=port, own=_own(env), env=env, refused=refused, shown=shown, offline=backend,
            directory=directory,
        )  # fmt: skip
    backend.close()


@contextmanager
def gateway(
    grant: AgentApiGrant = EVERYTHING,
    *,
    headers: Mapping[str, str] | None = None,
    endpoint: str | None = None,
    buildkite: socket.socket | None = None,
    proxy_for: ProxyFor = no_proxy,
) -> Iterator[Served]:
    """Serve a live job, whose Buildkite is the control plane of the tests."""
    with ControlPlane(buildkite) as control:
        env = job_env("true")
        job = control.enqueue(JobOrder(env=env))
        control.secrets["CONTRACT"] = SECRET
        refused: list[RefusedCall] = []
        agent = {"BUILDKITE_AGENT_ENDPOINT": endpoint or control.url, **(headers or {})}
        backend = Gateway(grant, _own(env), agent, Secret(job.token), proxy_for=proxy_for)
        with served_by(backend, job=job.id, refused=refused) as port:
            yield Served(
                port=port,
                own=_own(env),
                env=env,
                refused=refused,
                gateway=backend,
                job=job,
                control=control,
            )


def replay_options() -> dict[str, Any]:
    """Return what makes a replay answer every call."""
    return {"oidc_stub": True, "secrets": {"CONTRACT": Secret(SECRET)}}
