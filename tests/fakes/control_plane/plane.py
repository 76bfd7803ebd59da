"""The control plane itself: agents, the queue of jobs, and the methods of a test."""

import secrets
import socket
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from tests.fakes.control_plane import artifacts, calls, rest_api
from tests.fakes.control_plane.identity import Issuer
from tests.fakes.control_plane.job import Job, JobOrder, JobResult
from tests.fakes.simulator import Call, Reply, Simulator, json_reply, problem

REGISTRATION = "registration-token-of-the-fleet"

_MALFORMED = (
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    EOFError,
    OSError,
    zlib.error,
)


@dataclass(slots=True)
class _Agent:
    id: str
    name: str
    token: str
    registered: dict[str, Any]
    offered: str = ""  # a job's id, until the agent accepts it
    connected: bool = False

    @property
    def stamps(self) -> bool:
        """Whether it always inserts timestamps (docs/agent-contract.md#agent-3-and-agent-4)."""
        return str(self.registered.get("version", "")).startswith("4.")


class ControlPlane(Simulator):
    """Registers agents, gives them jobs and keeps what they report.

    It listens on `listener`, or else on `host` and `port`. Every token is checked: that of the
    registration, an agent's access token for its own calls, a job's token for the job's.
    """

    def __init__(
        self,
        listener: socket.socket | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        ping_interval: int = 1,
        job_status_interval: int = 1,
        heartbeat_interval: int = 10,
    ) -> None:
        super().__init__(listener or socket.create_server((host, port), backlog=128))
        self.jobs: dict[str, Job] = {}
        self.agents: dict[str, _Agent] = {}  # by access token
        self.secrets: dict[str, str] = {}
        self.steps: dict[str, dict[str, str]] = {}  # attributes by build and step
        self.caches: dict[str, dict[str, dict[str, Any]]] = {}  # entries by registry and key
        self.canceled_builds: list[str] = []
        self.canceled_steps: list[tuple[str, str]] = []  # build, and key or id
        self.api_tokens = {rest_api.API_TOKEN: rest_api.SCOPES}  # of developers, with their scopes
        self.issuer = Issuer(self.url)
        self._intervals = {
            "ping_interval": ping_interval,
            "job_status_interval": job_status_interval,
            "heartbeat_interval": heartbeat_interval,
        }
        self._builds: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
        self._waiting: list[Job] = []

    # Methods of tests.

    def enqueue(self, order: JobOrder | Mapping[str, str]) -> Job:
        """Offer a job to the next agent that pings, unless the order names another agent."""
        order = order if isinstance(order, JobOrder) else JobOrder(env=order)
        job_id = order.id or order.env.get("BUILDKITE_JOB_ID") or str(uuid.uuid4())
        env = {"BUILDKITE_JOB_ID": job_id, **order.env}
        build = env.get("BUILDKITE_BUILD_ID", job_id)
        meta_data, shown = self._builds.setdefault(build, ({}, {}))
        token = "bkaj_" + secrets.token_hex(16)
        job = Job(
            id=job_id, env=env, token=token, order=order, meta_data=meta_data, shown=shown
        )  # fmt: skip
        job.note("enqueued")
        with self.changed:
            self.jobs[job.id] = job
            self._waiting.append(job)
        return job

    def wait(self, job: Job | str, condition: Callable[[Job], object], seconds: float = 60) -> None:
        """Wait until `condition` holds for the job; the log so far is in the failure."""
        job = self._known(job)
        with self.changed:
            met = self.changed.wait_for(lambda: condition(job), seconds)
        assert met, f"not within {seconds} s; log so far:\n{job.log.decode(errors='replace')}"

    def finished(self, job: Job | str, seconds: float = 90) -> tuple[str, str, str]:
        """Wait for the end; return exit status, signal and signal reason."""
        self.wait(job, lambda j: j.finish is not None, seconds)
        return self._known(job).result

    def completed(self, job: Job | str, seconds: float = 90) -> JobResult:
        """Wait for the end and return everything that the job left behind."""
        self.finished(job, seconds)
        return self._known(job).completed()

    def cancel(self, job: Job | str, state: str = "canceling") -> None:
        """Cancel the job as a user does. A waiting job never starts."""
        job = self._known(job)
        with self.changed:
            if job in self._waiting:
                self._waiting.remove(job)
                state = "canceled"
            job.state = state

    def time_out(self, job: Job | str) -> None:
        """Report that the job has reached its timeout."""
        self.cancel(job, "timing_out")

    def is_connected(self, agent: str) -> bool:
        """Return whether an agent of this name has registered and can be given jobs."""
        return any(known.connected and known.name == agent for known in list(self.agents.values()))

    def _known(self, job: Job | str) -> Job:
        return self.jobs[job] if isinstance(job, str) else job

    # Calls of agents and jobs.

    def answer(self, call: Call) -> Reply:
        """Answer; a malformed call gets 400 with the error."""
        try:
            return self._route(call, [unquote(part) for part in call.path.strip("/").split("/")])
        except _MALFORMED as wrong:
            return problem(400, f"{call.method} {call.path}: {type(wrong).__name__}: {wrong}")

    def _route(self, call: Call, path: list[str]) -> Reply:
        match path:
            case ["register"]:
                return self._register(call)
            case ["connect" | "disconnect" | "heartbeat" | "ping" | "stop" as verb]:
                return self._agent_call(call, verb, "")
            case ["jobs", job_id, "accept" | "acquire" as verb]:
                return self._agent_call(call, verb, job_id)
            case ["uploads", job_id, *rest] if job_id in self.jobs:
                return artifacts.store(self.jobs[job_id], call, rest)
            case ["v2", *named]:
                return rest_api.answer(list(self.jobs.values()), self.api_tokens, call, named)
            case [".well-known", name]:
                document = self.issuer.document(name)
                return json_reply(document) if document else problem(404, f"no {name} here")
            case _:
                return self._job_call(call, path)

    def _register(self, call: Call) -> Reply:
        if _token(call) != REGISTRATION:
            return problem(401, "wrong registration token")
        asked = call.json()
        token = "access-" + secrets.token_hex(16)
        agent = _Agent(id=str(uuid.uuid4()), name=asked["name"], token=token, registered=asked)
        self._give_back(agent.name)
        self.agents[token] = agent
        return json_reply(
            {
                "id": agent.id,
                "name": agent.name,
                "access_token": token,
                "endpoint": self.url,
                "meta_data": asked.get("meta_data") or [],
                **self._intervals,
            }
        )

    def _agent_call(self, call: Call, verb: str, job_id: str) -> Reply:
        agent = self.agents.get(_token(call))
        if agent is None:
            return problem(401, "wrong access token")
        match verb:
            case "ping":
                return self._ping(agent)
            case "accept" | "acquire":
                return self._accept(agent, job_id, verb)
            case "connect" | "disconnect":
                agent.connected = verb == "connect"
                self._give_back(agent.name)
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        return json_reply({"sent_at": now, "received_at": now})

    def _give_back(self, name: str) -> None:
        """Requeue a job that this agent was offered and has not accepted."""
        for agent in self.agents.values():
            if agent.name == name and agent.offered:
                self._waiting.insert(0, self.jobs[agent.offered])
                agent.offered = ""

    def _ping(self, agent: _Agent) -> Reply:
        if agent.offered and self.jobs[agent.offered].state != "scheduled":
            agent.offered = ""  # canceled meanwhile
        mine = [job for job in self._waiting if job.order.agent in ("", agent.name)]
        if mine and not agent.offered:
            self._waiting.remove(mine[0])
            mine[0].note("offered")
            agent.offered = mine[0].id
        return json_reply({"job": {"id": agent.offered}} if agent.offered else {})

    def _accept(self, agent: _Agent, job_id: str, verb: str) -> Reply:
        job = self.jobs.get(job_id)
        if job is None:
            return problem(404, "no such job")
        if verb == "acquire" and job in self._waiting:
            self._waiting.remove(job)
            agent.offered = job.id
        if agent.offered != job.id or job.state != "scheduled":
            return self._again(agent, job, verb)
        agent.offered, job.agent_id, job.state = "", agent.id, "accepted"
        job.stamped = agent.stamps
        job.env.setdefault("BUILDKITE_AGENT_NAME", agent.name)
        if not job.order.own_token:
            job.token = agent.token
        job.note("accepted")
        return json_reply(calls.order(job, self.url))

    def _again(self, agent: _Agent, job: Job, verb: str) -> Reply:
        """Answer the same agent's repeated call as before: the first answer may have been lost."""
        if job.agent_id == agent.id and job.state == "accepted":
            return json_reply(calls.order(job, self.url))
        return problem(423 if verb == "acquire" else 422, "this job is not for you")

    def _job_call(self, call: Call, path: list[str]) -> Reply:
        # An agent's own token is that of several jobs: the one that is asked about, if any.
        callers = [job for job in self.jobs.values() if job.token == _token(call)]
        caller = max(callers, key=lambda job: job.id in path, default=None)
        if caller is None:
            return problem(401, "wrong job token")
        match path:
            case ["jobs", job_id, *rest] if job_id == caller.id:
                return self._own_call(caller, call, rest)
            case ["builds", build, "artifacts", "search"] if build == caller.build:
                siblings = [job for job in self.jobs.values() if job.build == build]
                return artifacts.search(siblings, call.query, self.url)
            case ["builds", build, "data", verb] if build == caller.build:
                return calls.meta_data(caller.meta_data, verb, call.json())
            case ["builds", build, "cancel"] if build == caller.build:
                self.canceled_builds.append(build)
                return json_reply({"uuid": build})
            case ["cache_registries", registry, *rest]:
                return calls.cache(self.caches.setdefault(registry, {}), call, registry, rest)
            case ["steps", step, *rest]:
                build = call.json().get("build_id") or caller.build
                if rest == ["cancel"]:
                    self.canceled_steps.append((build, step))
                return calls.step(self.steps.setdefault(f"{build} {step}", {}), call, rest)
            case ["jobs" | "builds", *_]:
                return problem(401, "this job's token is not for that")
            case _:
                return problem(404, f"no {call.method} {call.path} here")

    def _own_call(self, job: Job, call: Call, rest: list[str]) -> Reply:
        match call.method, rest:
            case "POST", ["artifacts"]:
                return artifacts.create(job, call.json(), self.url)
            case "POST", ["oidc", "tokens"]:
                return json_reply({"token": self.issuer.token(job, call.json())})
            case "GET", ["secrets"]:
                return self._secret(call.query["key"])
            case "POST", ["repository_access_token"]:
                return json_reply({"token": f"for {call.json()['repo_url']}"})
            case _:
                return calls.answer(job, call, rest)

    def _secret(self, key: str) -> Reply:
        if key not in self.secrets:
            return problem(404, f"no secret {key}")
        return json_reply({"key": key, "value": self.secrets[key], "uuid": str(uuid.uuid4())})


def _token(call: Call) -> str:
    kind, _, token = call.headers.get("authorization", "").partition(" ")
    return token if kind == "Token" else ""
