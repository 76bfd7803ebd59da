"""Buildkite's agent API as far as an agent and its jobs use it (agent contract section 7)."""

import base64
import gzip
import json
import secrets
import socket
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.fakes.simulator import Call, Reply, Simulator, problem, said

REGISTRATION = "registration-token-of-the-fleet"


@dataclass(slots=True)
class Job:
    """One job as the control plane sees it."""

    id: str
    env: dict[str, str]
    token: str
    state: str = "ready"
    chunks: dict[int, bytes] = field(default_factory=dict)
    finish: dict[str, Any] | None = None
    uploads: dict[str, bytes] = field(default_factory=dict)
    artifacts: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    pipelines: list[dict[str, Any]] = field(default_factory=list)
    meta_data: dict[str, str] = field(default_factory=dict)

    @property
    def log(self) -> bytes:
        """The log as far as it came, in order of its offsets."""
        return b"".join(self.chunks[offset] for offset in sorted(self.chunks))

    @property
    def result(self) -> tuple[str, str, str]:
        """Exit status, signal and signal reason, as Buildkite would show them."""
        assert self.finish is not None, "the job has not finished"
        reason = self.finish.get("signal_reason", "")
        return self.finish["exit_status"], self.finish.get("signal", ""), reason


class ControlPlane(Simulator):
    """Registers agents, gives them jobs and keeps what they report."""

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(listener)
        self.jobs: dict[str, Job] = {}
        self._waiting: list[str] = []
        self._access = "access-" + secrets.token_hex(8)

    def enqueue(self, env: Mapping[str, str]) -> Job:
        """Offer a job with this environment to the next agent that asks."""
        job_id = env.get("BUILDKITE_JOB_ID") or str(uuid.uuid4())
        job = Job(
            id=job_id,
            env={**env, "BUILDKITE_JOB_ID": job_id},
            token="bkaj_" + secrets.token_hex(16),
        )
        with self.changed:
            self.jobs[job.id] = job
            self._waiting.append(job.id)
        return job

    def wait(self, job: Job, condition: Callable[[Job], object], seconds: float = 60) -> None:
        """Wait until `condition` holds for the job; the log so far is in the failure."""
        with self.changed:
            met = self.changed.wait_for(lambda: condition(job), seconds)
        assert met, f"not within {seconds} s; log so far:\n{job.log.decode(errors='replace')}"

    def finished(self, job: Job, seconds: float = 90) -> tuple[str, str, str]:
        self.wait(job, lambda j: j.finish is not None, seconds)
        return job.result

    def cancel(self, job: Job, state: str = "canceling") -> None:
        """Ask the agent to end the job, as somebody's click does; `timing_out` for a timeout."""
        with self.changed:
            job.state = state

    def answer(self, call: Call) -> Reply:
        match call.path.strip("/").split("/"):
            case ["register"]:
                return self._register(call)
            case ["connect" | "disconnect" | "heartbeat"]:
                now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
                return said({"sent_at": now, "received_at": now})
            case ["ping"]:
                return self._ping()
            case ["jobs" | "builds", job_id, *rest] if job_id in self.jobs:
                return self._job(self.jobs[job_id], call, rest)
            case ["uploads", job_id, artifact]:
                self.jobs[job_id].uploads[artifact] = call.body
                return Reply(headers={"ETag": f'"{artifact}"'})
            case _:
                return problem(404, f"no {call.method} {call.path} here")

    def _register(self, call: Call) -> Reply:
        if call.headers.get("authorization") != f"Token {REGISTRATION}":
            return problem(401, "wrong registration token")
        asked = call.json()
        return said(
            {
                "id": str(uuid.uuid4()),
                "name": asked["name"],
                "access_token": self._access,
                "endpoint": self.url,
                "ping_interval": 1,
                "job_status_interval": 1,
                "heartbeat_interval": 10,
                "meta_data": asked.get("meta_data") or [],
            }
        )

    def _ping(self) -> Reply:
        if not self._waiting:
            return said({})
        return said({"job": {"id": self._waiting[0]}})

    def _job(self, job: Job, call: Call, rest: list[str]) -> Reply:
        allowed = {f"Token {self._access}", f"Token {job.token}"}
        if call.headers.get("authorization") not in allowed:
            return problem(401, "wrong token for this job")
        match (call.method, rest):
            case ("PUT", ["accept"]):
                self._waiting.remove(job.id)
                job.state = "accepted"
                return said(self._order(job))
            case ("PUT", ["start"]):
                job.state = "running"
            case ("GET", []):
                return said({"id": job.id, "state": job.state})
            case ("POST", ["chunks"]):
                job.chunks[int(call.query["offset"])] = gzip.decompress(call.body)
            case ("PUT", ["finish"]):
                job.finish, job.state = call.json(), "finished"
            case ("POST", ["data", verb]):
                return _meta_data(job, verb, call.json())
            case (_, ["artifacts", *_]):
                return self._artifacts(job, call, rest)
            case ("POST", ["annotations"]):
                job.annotations.append(call.json())
            case ("POST", ["pipelines"]):
                job.pipelines.append(call.json())
            case ("GET", ["pipelines", _]):
                return said({"state": "applied"})
            case ("POST", ["oidc", "tokens"]):
                return said({"token": _token(job, call.json())})
            case ("GET", ["secrets"]):
                return problem(404, "no such secret")
            case _:
                return problem(404, f"no {call.method} {call.path} here")
        return said({})

    def _order(self, job: Job) -> dict[str, Any]:
        return {
            "id": job.id,
            "state": "accepted",
            "env": job.env,
            "step": {"command": job.env.get("BUILDKITE_COMMAND", "")},
            "token": job.token,
            "endpoint": self.url,
            "chunks_max_size_bytes": 100_000,
            "chunks_interval_seconds": 1,
            "log_max_size_bytes": 1 << 30,
        }

    def _artifacts(self, job: Job, call: Call, rest: list[str]) -> Reply:
        match (call.method, rest):
            case ("POST", ["artifacts"]):
                return said(self._offer_uploads(job, call.json()["artifacts"]))
            case ("PUT", ["artifacts"]):
                return said({})
            case ("GET", ["artifacts", "search"]):
                return said(job.artifacts)
            case _:
                return problem(404, "no such artifact call")

    def _offer_uploads(self, job: Job, artifacts: list[dict[str, Any]]) -> dict[str, Any]:
        ids = [str(uuid.uuid4()) for _ in artifacts]
        for artifact_id, artifact in zip(ids, artifacts, strict=True):
            job.artifacts.append({**artifact, "id": artifact_id, "job_id": job.id})
        instructions = {
            artifact_id: {
                "actions": [
                    {
                        "method": "PUT",
                        "url": f"{self.url}/uploads/{job.id}/{artifact_id}",
                        "part_number": 1,
                    }
                ]
            }
            for artifact_id in ids
        }
        return {"id": "batch", "artifact_ids": ids, "per_artifact_instructions": instructions}


def _meta_data(job: Job, verb: str, asked: dict[str, Any]) -> Reply:
    match verb:
        case "set":
            job.meta_data[asked["key"]] = asked["value"]
            return said({})
        case "get" if asked["key"] in job.meta_data:
            return said({"key": asked["key"], "value": job.meta_data[asked["key"]]})
        case "get":
            return problem(404, "no such key")
        case "exists":
            return said({"exists": asked["key"] in job.meta_data})
        case "keys":
            return said(sorted(job.meta_data))
        case _:
            return problem(404, f"no data/{verb}")


def _token(job: Job, asked: dict[str, Any]) -> str:
    """An unsigned stand-in for an OIDC token: signed identity comes with its own issue."""
    claims = {"aud": asked.get("audience"), "job_id": job.id}
    parts = ({"alg": "none"}, claims)
    encoded = (base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=") for p in parts)
    return b".".join((*encoded, b"")).decode()
