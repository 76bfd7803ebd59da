"""Buildkite's REST API, as far as a developer's commands ask it: a build, and a job's environment.

Fields and scopes: https://buildkite.com/docs/apis/rest-api/builds, …/jobs and …/access-token
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tests.fakes.control_plane.job import Job
from tests.fakes.simulator import Call, Reply, json_reply, problem

API_TOKEN = "bkua_a-developers-token"
SCOPES = frozenset({"read_builds", "read_job_env"})


def answer(
    jobs: Iterable[Job], tokens: Mapping[str, frozenset[str]], call: Call, path: list[str]
) -> Reply:
    """Answer what follows /v2. A token that is not known gets 401, one without the scope 403."""
    kind, _, token = call.headers.get("authorization", "").partition(" ")
    if kind != "Bearer" or token not in tokens:
        return problem(401, "Authentication required. Please supply a valid API Access Token")
    match path:
        case ["organizations", organization, "pipelines", pipeline, "builds", number, *rest]:
            build = [job for job in jobs if _names(job) == (organization, pipeline, number)]
        case _:
            return problem(404, "No organization found")
    match call.method, rest:
        case "GET", [] if build:
            allowed, document = "read_builds", _build(build)
        case "GET", ["jobs", job_id, "env"] if found := [j for j in build if j.id == job_id]:
            allowed, document = "read_job_env", {"env": found[0].env}
        case _:
            return problem(404, "No build found")
    if allowed not in tokens[token]:
        return problem(403, f"Your access token doesn't have the required scope: {allowed}")
    return json_reply(document)


def _names(job: Job) -> tuple[str | None, ...]:
    names = ("ORGANIZATION_SLUG", "PIPELINE_SLUG", "BUILD_NUMBER")
    return tuple(job.env.get(f"BUILDKITE_{name}") for name in names)


def _build(jobs: list[Job]) -> dict[str, Any]:
    number = jobs[0].env.get("BUILDKITE_BUILD_NUMBER", "0")
    return {"id": jobs[0].build, "number": int(number), "jobs": [_job(job) for job in jobs]}


def _job(job: Job) -> dict[str, Any]:
    status = job.finish.get("exit_status") if job.finish else None
    return {
        "id": job.id,
        "type": "script",
        "name": job.env.get("BUILDKITE_LABEL"),
        "step_key": job.env.get("BUILDKITE_STEP_KEY"),
        "step": {"id": job.env.get("BUILDKITE_STEP_ID")},
        "command": job.env.get("BUILDKITE_COMMAND"),
        "state": job.state,
        "exit_status": None if status in (None, "") else int(status),
    }
