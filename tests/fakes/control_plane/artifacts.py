"""Artifacts: created, uploaded in parts or as a form, searched and downloaded."""

import re
import uuid
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from tests.fakes.control_plane.job import Job
from tests.fakes.simulator import Call, Reply, json_reply, problem

PART = 5 << 20  # Buildkite's store takes no smaller parts, but for the last one


def create(job: Job, asked: Mapping[str, Any], base: str) -> Reply:
    """Register a batch and return each file's upload URL; a repeated batch has the same files."""
    batch = str(asked["id"])
    made = [known for known in job.artifacts if known["batch"] == batch] or [
        _register(job, batch, artifact) for artifact in asked["artifacts"]
    ]
    reply: dict[str, Any] = {"id": batch, "artifact_ids": [known["id"] for known in made]}
    if asked.get("multipart_supported"):
        parts = {known["id"]: {"actions": _actions(known, base)} for known in made}
        return json_reply({**reply, "per_artifact_instructions": parts})
    return json_reply({**reply, "upload_instructions": _form(job, batch, base)})


def _register(job: Job, batch: str, artifact: Mapping[str, Any]) -> dict[str, Any]:
    own = {"id": str(uuid.uuid4()), "job_id": job.id, "batch": batch, "state": "new"}
    known = {**artifact, **own}
    job.artifacts.append(known)
    return known


def _actions(known: Mapping[str, Any], base: str) -> list[dict[str, Any]]:
    count = max(1, -(-int(known["file_size"]) // PART))
    where = f"{base}/uploads/{known['job_id']}/{known['id']}"
    return [
        {"method": "PUT", "url": f"{where}?part={number}", "part_number": number}
        for number in range(1, count + 1)
    ]


def _form(job: Job, batch: str, base: str) -> dict[str, Any]:
    """One template for the whole batch; the agent puts each artifact's path into `path`."""
    action = {
        "method": "POST",
        "url": base,
        "path": f"/uploads/{job.id}",  # replaces the URL's own path
        "file_input": "file",
    }
    return {"action": action, "data": {"batch": batch, "path": "${artifact:path}"}}


def update(job: Job, asked: Mapping[str, Any]) -> Reply:
    """Take the states that the agent reports."""
    states = {one["id"]: one["state"] for one in asked["artifacts"]}
    for known in job.artifacts:
        known["state"] = states.get(known["id"], known["state"])
    return json_reply({})


def store(job: Job, call: Call, rest: list[str]) -> Reply:
    """Be the store: presigned URLs, so no token."""
    match call.method, rest:
        case "PUT", [artifact] if any(known["id"] == artifact for known in job.artifacts):
            part = int(call.query.get("part", "1"))
            job.parts.setdefault(artifact, {})[part] = call.body
            return Reply(body=b"", headers={"ETag": f'"{artifact}-{part}"'})
        case "POST", []:
            return _take_form(job, call)
        case "GET", [artifact] if artifact in job.parts:
            return Reply(body=job.uploads[artifact], kind="application/octet-stream")
        case _:
            return problem(404, "no such upload")


def _take_form(job: Job, call: Call) -> Reply:
    fields = form_fields(call.headers["content-type"], call.body)
    wanted = (fields["batch"].decode(), fields["path"].decode())
    for known in job.artifacts:
        if (known["batch"], known["path"]) == wanted:
            job.parts[known["id"]] = {1: fields["file"]}
            return Reply(status=204, body=b"")
    return problem(404, f"no artifact {wanted[1]} in batch {wanted[0]}")


def form_fields(content_type: str, body: bytes) -> dict[str, bytes]:
    """Read a multipart/form-data body; contents stay byte for byte what was sent."""
    boundary = content_type.partition("boundary=")[2].strip('"').encode()
    fields = {}
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        name = re.search(rb'[; ]name="([^"]*)"', head)
        if name:
            fields[name[1].decode()] = content
    return fields


def search(jobs: Iterable[Job], query: Mapping[str, str], base: str) -> Reply:
    """Find artifacts of a build; of several with one path the newest, unless all are asked for."""
    found = [
        {**known, "url": f"{base}/uploads/{job.id}/{known['id']}"}
        for job in jobs
        if query.get("scope", "") in ("", job.id, job.env.get("BUILDKITE_STEP_KEY"))
        for known in job.artifacts
        if query.get("state", known["state"]) == known["state"] and _asked(query, known["path"])
    ][::-1]
    if query.get("include_duplicates") == "true":
        return json_reply(found)
    return json_reply(list({known["path"]: known for known in reversed(found)}.values()))


def _asked(query: Mapping[str, str], path: str) -> bool:
    """`*` matches `/` too, and there is one pattern: buildkite/agent, issues 1087 and 1458."""
    return fnmatchcase(path, query.get("query", "*").strip().removeprefix("./"))
