"""Calls that a job's agent and the job itself make with the job's own token."""

import gzip
import json
from collections.abc import Mapping
from typing import Any

from tests.fakes.control_plane import artifacts
from tests.fakes.control_plane.job import Job
from tests.fakes.simulator import Call, Reply, json_reply, problem


def order(job: Job, base: str) -> dict[str, Any]:
    """Return the document that the agent gets when it accepts the job."""
    return {
        "id": job.id,
        "state": "accepted",
        "env": job.env,
        "step": {"command": job.env.get("BUILDKITE_COMMAND", ""), **job.order.step},
        "token": job.token if job.order.own_token else "",
        "endpoint": base,
        "chunks_max_size_bytes": job.order.chunk_bytes,
        "chunks_interval_seconds": 1,
        "log_max_size_bytes": job.order.log_bytes,
    }


def answer(job: Job, call: Call, rest: list[str]) -> Reply:
    """Answer calls about this job alone."""
    match call.method, rest:
        case "GET", []:
            return json_reply({"id": job.id, "state": job.state})
        case "PUT", []:
            return json_reply({"id": job.id})
        case "PUT", ["start"]:
            return _start(job)
        case "POST", ["chunks"]:
            return _chunk(job, call)
        case "PUT", ["finish"]:
            return _finish(job, call.json())
        case "POST", ["header_times"]:
            job.header_times.update(call.json()["header_times"])
        case "POST", ["data", verb]:
            return meta_data(job.meta_data, verb, call.json())
        case "PUT", ["artifacts"]:
            return artifacts.update(job, call.json())
        case _:
            return _reported(job, call, rest)
    return json_reply({})


def _reported(job: Job, call: Call, rest: list[str]) -> Reply:
    match call.method, rest:
        case "POST", ["annotations"]:
            return _annotate(job, call.json())
        case "DELETE", ["annotations", context] if context in _shown(job, call.query):
            del _shown(job, call.query)[context]
            return Reply(status=204, body=b"")
        case "POST", ["pipelines"]:
            return _upload(job, call)
        case "GET", ["pipelines", change] if any(p.get("uuid") == change for p in job.pipelines):
            return json_reply({"state": "applied"})
        case "PUT", ["promise_failure"]:
            return _promise(job, call.json())
        case _:
            return problem(404, f"no {call.method} {call.path} here")


def _start(job: Job) -> Reply:
    if job.state == "accepted":  # it may have been cancelled first
        job.state = "running"
    job.note("started")
    return json_reply({})


def _chunk(job: Job, call: Call) -> Reply:
    """Keep a chunk of the log. A repeated chunk counts once, a different one there is refused."""
    if call.headers.get("content-encoding") != "gzip" or int(call.query["sequence"]) < 1:
        return problem(422, "a chunk is gzip and numbered from 1")
    data, offset = gzip.decompress(call.body), int(call.query["offset"])
    if len(data) != int(call.query["size"]):
        return problem(422, f"{len(data)} bytes received, {call.query['size']} were announced")
    if job.chunks.setdefault(offset, data) != data:
        return problem(409, f"something else was already uploaded at {offset}")
    job.note("first_chunk")
    return json_reply({})


def _finish(job: Job, report: dict[str, Any]) -> Reply:
    if job.finish not in (None, report):
        return problem(422, "this job has already finished otherwise")
    job.ended_as = job.ended_as or job.state
    job.finish, job.state = report, "finished"
    job.note("finished")
    return json_reply({})


def _annotate(job: Job, note: dict[str, Any]) -> Reply:
    context = note.get("context") or "default"
    shown = _shown(job, note)
    before = shown.get(context, "") if note.get("append") else ""
    shown[context] = before + note.get("body", "")
    job.annotations.append(note)
    return json_reply({})


def _shown(job: Job, asked: Mapping[str, Any]) -> dict[str, str]:
    return job.own_shown if asked.get("scope") == "job" else job.shown


def _upload(job: Job, call: Call) -> Reply:
    """Take a pipeline; a retry carries the same uuid. 202 makes the agent poll for its state."""
    change = call.json()
    if not any(known["uuid"] == change["uuid"] for known in job.pipelines):
        job.pipelines.append(change)
    if call.query.get("async") != "true":
        return json_reply({})
    where = {"Location": f"{call.path}/{change['uuid']}", "Retry-After": "0"}
    return Reply(status=202, headers=where)


def _promise(job: Job, report: dict[str, Any]) -> Reply:
    if not isinstance(report.get("exit_status"), int) or report["exit_status"] == 0:
        return problem(422, "a promised failure is a number other than 0")
    job.promised.append(report)
    return Reply(status=204, body=b"")


def meta_data(build: dict[str, str], verb: str, asked: dict[str, Any]) -> Reply:
    """Set, get, look for and list the meta-data of a build."""
    match verb:
        case "set":
            build[asked["key"]] = asked["value"]
        case "set-batch":
            build.update({item["key"]: item["value"] for item in asked["items"]})
        case "get" if asked["key"] in build:
            return json_reply({"key": asked["key"], "value": build[asked["key"]]})
        case "get":
            return problem(404, f"no key {asked['key']}")
        case "exists":
            return json_reply({"exists": asked["key"] in build})
        case "keys":
            return json_reply(sorted(build))
        case _:
            return problem(404, f"no data/{verb}")
    return json_reply({})


def step(attributes: dict[str, str], call: Call, rest: list[str]) -> Reply:
    """Export and update the attributes of a step."""
    match call.method, rest:
        case "POST", ["export"]:
            return _exported(attributes, call.json().get("attribute", ""))
        case "PUT", []:
            asked = call.json()
            before = attributes.get(asked["attribute"], "") if asked.get("append") else ""
            attributes[asked["attribute"]] = before + asked.get("value", "")
            return json_reply({"uuid": asked.get("idempotency_uuid", "")})
        case "POST", ["cancel"]:
            return json_reply({"uuid": call.json()["build_id"]})
        case _:
            return problem(404, f"no {call.method} {call.path} here")


def _exported(attributes: Mapping[str, str], name: str) -> Reply:
    """Without a name, all attributes, as JSON."""
    return json_reply({"output": attributes.get(name, "") if name else json.dumps(attributes)})


def cache(entries: dict[str, dict[str, Any]], call: Call, name: str, rest: list[str]) -> Reply:
    """Describe a cache registry; look for, store and forget its entries."""
    asked = call.json()
    key = str(asked.get("cache_key"))
    match call.method, rest:
        case "GET", []:
            return json_reply({"uuid": name, "name": name, "store": "local_file"})
        case "POST", ["peek" | "retrieve"] if key in entries:
            return json_reply(entries[key])
        case "POST", ["peek" | "retrieve"]:
            return problem(404, "Cache entry not found")
        case "POST", ["expire"]:
            entries.pop(key, None)
            return json_reply({})
        case "PUT", ["store"]:
            entries[key] = asked
            return json_reply({"upload_id": key, "multipart": False, "upload_instructions": []})
        case "PUT", ["commit"]:
            return json_reply({"message": "committed"})
        case _:
            return problem(404, f"no {call.method} {call.path} here")
