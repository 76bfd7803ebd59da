"""The calls of the agent API, the same on both back ends."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bootstrap.agent_api.routes import COMMIT
from tests.agent_api.served import (
    AUDIENCE,
    SECRET,
    Served,
    gateway,
    offline,
    replay_options,
)

CONTENT = b"an artifact\r\n--with a boundary--\r\n"
UPLOAD = "7d1b0d2a-0000-4000-8000-000000000001"


@pytest.fixture(params=["offline", "gateway"])
def api(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    opened = gateway() if request.param == "gateway" else offline(tmp_path, **replay_options())
    with opened as served:
        yield served


def test_meta_data(api: Served) -> None:
    assert api.job_call("POST", "data/set", {"key": "a", "value": "é\n"}) == (200, {})
    items = [{"key": "b", "value": "1"}, {"key": "c", "value": "2"}]
    assert api.job_call("POST", "data/set-batch", {"items": items}) == (200, {})
    assert api.job_call("POST", "data/get", {"key": "a"}) == (200, {"key": "a", "value": "é\n"})
    assert api.job_call("POST", "data/exists", {"key": "b"}) == (200, {"exists": True})
    assert api.job_call("POST", "data/exists", {"key": COMMIT}) == (200, {"exists": False})
    assert api.job_call("POST", "data/keys") == (200, ["a", "b", "c"])
    assert api.job_call("POST", "data/get", {"key": "nothing"})[0] == 404
    build = f"/builds/{api.own.build}/data/get"
    assert api.call("POST", build, {"key": "b"}) == (200, {"key": "b", "value": "1"})


def batch(path: str, content: bytes) -> dict[str, Any]:
    return {
        "id": UPLOAD,
        "upload_destination": "",
        "artifacts": [
            {
                "path": path,
                "absolute_path": f"/x/{path}",
                "file_size": len(content),
                "sha1sum": hashlib.sha1(content).hexdigest(),  # noqa: S324 - as the agent does
                "sha256sum": hashlib.sha256(content).hexdigest(),
                "content_type": "text/plain",
            }
        ],
    }


def form(fields: dict[str, str], content: bytes) -> bytes:
    parts = [
        f'--edge\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    file = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n'
    kind = b"Content-Type: application/octet-stream\r\n\r\n"
    return b"".join([*parts, file, kind, content, b"\r\n--edge--\r\n"])


def test_artifacts(api: Served) -> None:
    status, made = api.job_call("POST", "artifacts", batch("out/a.txt", CONTENT))
    assert status == 200
    again = api.job_call("POST", "artifacts", batch("out/a.txt", CONTENT))[1]
    assert again["artifact_ids"] == made["artifact_ids"]
    instructions = made["upload_instructions"]
    fields = {
        name: value.replace("${artifact:path}", "out/a.txt")
        for name, value in instructions["data"].items()
    }
    # Where the answer says: a foreign host with the gateway, and without the token.
    action = instructions["action"]
    port = int(action["url"].rpartition(":")[2])
    store = Served(port=port, own=api.own, env=api.env, token="none")
    kind = {"Content-Type": "multipart/form-data; boundary=edge"}
    body = form(fields, CONTENT)
    assert store.call("POST", action["path"], headers=kind, body=body)[0] == 204
    states = [{"id": made["artifact_ids"][0], "state": "finished"}]
    assert api.job_call("PUT", "artifacts", {"artifacts": states})[0] == 200
    search = f"/builds/{api.own.build}/artifacts/search?query=out%2F%2A&state=finished"
    (found,) = api.call("GET", search)[1]
    assert (found["path"], found["file_size"]) == ("out/a.txt", len(CONTENT))
    assert found["sha256sum"] == hashlib.sha256(CONTENT).hexdigest()
    path = "/" + found["url"].split("/", 3)[3]
    assert store.call("GET", path) == (200, CONTENT)


def test_annotations(api: Served) -> None:
    note = {"body": "**hello**", "context": "a/b.c", "style": "info", "priority": 3}
    assert api.job_call("POST", "annotations", note)[0] == 200
    more = {"body": " again", "context": "a/b.c", "append": True}
    assert api.job_call("POST", "annotations", more)[0] == 200
    assert api.job_call("DELETE", "annotations/a%2Fb%2Ec?scope=build")[0] == 204
    assert api.job_call("DELETE", "annotations/a%2Fb%2Ec?scope=build")[0] == 404


def test_pipelines(api: Served) -> None:
    change = {"uuid": UPLOAD, "pipeline": {"steps": [{"command": "echo", "label": ":x: é"}]}}
    status, _ = api.job_call("POST", "pipelines?async=true", change)
    assert status in {200, 202}
    assert api.job_call("POST", "pipelines?async=true", change)[0] == status
    assert api.job_call("GET", f"pipelines/{UPLOAD}")[1]["state"] == "applied"
    assert api.job_call("GET", "pipelines/other")[0] == 404


def test_steps(api: Served) -> None:
    step = f"/steps/{api.own.step}"
    update: dict[str, Any] = {"build_id": api.own.build, "attribute": "label", "value": "Shipped"}
    assert api.call("PUT", step, update)[0] == 200
    update = {**update, "value": " twice", "append": True}
    assert api.call("PUT", step, update)[0] == 200
    asked = {"build_id": api.own.build, "attribute": "label"}
    assert api.call("POST", f"{step}/export", asked) == (200, {"output": "Shipped twice"})
    assert api.call("POST", f"{step}/cancel", asked)[0] == 200
    assert api.call("POST", f"/builds/{api.own.build}/cancel") == (200, {"uuid": api.own.build})


def test_the_job_itself(api: Served) -> None:
    assert api.call("PUT", f"/jobs/{api.own.job}", {"timeout": "20"}) == (200, {"id": api.own.job})
    failing = {"exit_status": 3, "reason": "tests failed"}
    assert api.job_call("PUT", "promise_failure", failing)[0] == 204


def test_tokens_and_secrets(api: Served) -> None:
    status, answer = api.job_call("POST", "oidc/tokens", {"audience": AUDIENCE})
    assert (status, answer["token"].count(".")) == (200, 2)
    status, secret = api.job_call("GET", "secrets?key=CONTRACT")
    assert (status, secret["value"]) == (200, SECRET)
    assert api.job_call("GET", "secrets?key=OTHER")[0] == 403
    url = {"repo_url": "https://example.com/acme/storefront"}
    assert api.job_call("POST", "repository_access_token", url)[0] == 403


def test_caches(api: Served) -> None:
    asked = {"target_paths": ["a"], "cache_key": [{"value": "k", "mandatory": True}]}
    status, answer = api.call("POST", "/cache_registries/default/retrieve", asked)
    assert (status, answer) == (404, {"message": "Cache entry not found"})


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("PUT", "/start"), ("PUT", "/finish"), ("PUT", "/accept"), ("PUT", "/acquire"),
     ("POST", "/chunks?sequence=1&offset=0&size=1"), ("POST", "/header_times")],
)  # fmt: skip
def test_the_agents_own_calls_about_the_job_are_refused(
    api: Served, method: str, path: str
) -> None:
    status, answer = api.call(method, f"/jobs/{api.own.job}{path}")
    assert status == 403
    assert "Airlock" in answer["message"]
    (refused,) = api.refusals(1)
    assert refused.why == "this call is the agent's own, outside of the sandbox"


@pytest.mark.parametrize(
    "path",
    ["/jobs/{}/data/keys", "/jobs/{}/artifacts", "/jobs/{}/annotations", "/jobs/{}/pipelines",
     "/jobs/{}/oidc/tokens", "/builds/{}/data/keys", "/builds/{}/cancel", "/steps/{}/export",
     "/steps/{}/cancel", "/jobs/{}/repository_access_token"],
)  # fmt: skip
def test_another_jobs_and_builds_ids_are_refused(api: Served, path: str) -> None:
    foreign = "0190e0a0-0000-4000-8000-00000000dead"
    document = {"audience": AUDIENCE, "id": UPLOAD, "artifacts": [], "build_id": foreign}
    status, answer = api.call("POST", path.format(foreign), document)
    assert status in {403, 404}
    assert answer["message"]
    if api.control:
        assert not api.control.calls


@pytest.mark.parametrize("token", ["", "wrong", "placeholder-of-one-jo"])
def test_without_the_token_there_is_no_call(api: Served, token: str) -> None:
    assert api.job_call("POST", "data/keys", token=token)[0] == 401
    headers = {"Authorization": f"Bearer {api.token}"}
    assert api.job_call("POST", "data/keys", headers=headers)[0] == 401
    assert {call.why for call in api.refusals(1)} == {"this is not the token of its job"}


@pytest.mark.parametrize(
    "path", ["/", "/jobs", "/jobs/x/oidc/tokens.json", "/v3/jobs/x/data/keys", "/metadata"]
)
def test_an_unknown_call_is_refused_with_a_message(api: Served, path: str) -> None:
    status, answer = api.call("POST", path, {})
    assert (status, answer["message"][:8]) in {(404, "Airlock:"), (400, "a part o")}
