"""The offline back end: what it writes and shows, its limits, and what it has no answer to."""

import base64
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from bootstrap.agent_api.offline import annotations, artifacts, meta_data, pipelines, steps
from bootstrap.agent_api.offline.pipelines import tree
from bootstrap.agent_api.spool import IN_MEMORY
from tests.agent_api.served import AUDIENCE, Served, is_harmless, offline
from tests.agent_api.test_contract import batch, form

KIND = {"Content-Type": "multipart/form-data; boundary=edge"}


@pytest.fixture
def replay(tmp_path: Path) -> Iterator[Served]:
    with offline(tmp_path / "replay") as served:
        yield served


def uploaded(replay: Served, path: str, content: bytes, *, announced: bytes | None = None) -> int:
    """Upload one artifact as the agent does; return the status of the upload."""
    one = {**batch(path, content if announced is None else announced), "id": os.urandom(4).hex()}
    made = replay.job_call("POST", "artifacts", one)[1]
    body = form({"path": path}, content)
    where = made["upload_instructions"]["action"]["path"]
    status, _ = replay.call("POST", where, headers=KIND, body=body, token="")
    states = [{"id": made["artifact_ids"][0], "state": "finished" if status == 204 else "error"}]
    replay.job_call("PUT", "artifacts", {"artifacts": states})
    return status


def found(replay: Served, query: str) -> list[Any]:
    path = f"/builds/{replay.own.build}/artifacts/search?state=finished&{query}"
    answer: list[Any] = replay.call("GET", path)[1]
    return answer


def test_without_a_stub_the_refusal_says_what_to_do(replay: Served) -> None:
    status, answer = replay.job_call("POST", "oidc/tokens", {"audience": AUDIENCE})
    assert status == 403
    assert "--oidc-stub" in answer["message"]
    status, answer = replay.job_call("GET", "secrets?key=NPM")
    assert status == 403
    assert "--secret NPM=" in answer["message"]
    assert len(replay.refusals(2)) == 2


def test_the_stubs_token_is_one_that_nobody_signed(tmp_path: Path) -> None:
    with offline(tmp_path, oidc_stub=True) as replay:
        token = replay.job_call("POST", "oidc/tokens", {"audience": AUDIENCE})[1]["token"]
    header, claims, signature = token.split(".")
    read = [json.loads(base64.urlsafe_b64decode(part + "==")) for part in (header, claims)]
    assert read[0]["alg"] == "none"
    assert (read[1]["aud"], read[1]["iss"]) == (AUDIENCE, "https://airlock-replay.invalid")
    assert read[1]["exp"] - read[1]["iat"] == 300
    assert signature == ""


def test_paths_that_lead_elsewhere_stay_in_the_directory(replay: Served, tmp_path: Path) -> None:
    assert uploaded(replay, "../../x", b"1") == 204
    assert (tmp_path / "replay/artifacts/%2E%2E/%2E%2E/x").read_bytes() == b"1"
    (one,) = found(replay, "query=../../x")
    assert replay.call("GET", "/" + one["url"].split("/", 3)[3], token="")[1] == b"1"


def test_of_several_artifacts_with_one_path_the_newest_is_found(replay: Served) -> None:
    assert [uploaded(replay, "a", content) for content in (b"1", b"2")] == [204, 204]
    (one,) = found(replay, "query=a")
    assert replay.call("GET", "/" + one["url"].split("/", 3)[3], token="")[1] == b"2"
    assert len(found(replay, "query=a&include_duplicates=true")) == 2


def test_only_the_jobs_own_scopes_have_artifacts(replay: Served) -> None:
    uploaded(replay, "a", b"1")
    assert len(found(replay, f"query=a&scope={replay.own.job}")) == 1
    assert len(found(replay, "query=a&scope=deploy")) == 1
    assert found(replay, "query=a&scope=other") == []


@pytest.mark.parametrize(
    ("query", "paths"),
    [
        ("dist/*", {"dist/a.js", "dist/deep/b.js"}), ("dist/**", {"dist/a.js", "dist/deep/b.js"}),
        ("dist/**/*", {"dist/deep/b.js"}), ("./dist/?.js", {"dist/a.js"}),
        ("dist/a.js;dist/deep/b.js", set()),
    ],
)  # fmt: skip
def test_search_matches_as_buildkites(tmp_path: Path, query: str, paths: set[str]) -> None:
    """https://github.com/buildkite/agent/issues/1087, …/2305 and …/1458."""
    with offline(tmp_path) as replay:
        for path in ("dist/a.js", "dist/deep/b.js"):
            assert uploaded(replay, path, b"x") == 204
        asked = "query=" + quote(query, safe="")
        assert {one["path"] for one in found(replay, asked)} == paths


def test_artifacts_of_earlier_jobs_are_found_in_any_scope(tmp_path: Path) -> None:
    earlier = tmp_path / "earlier"
    (earlier / "pkg").mkdir(parents=True)
    (earlier / "pkg" / "a.tgz").write_bytes(b"package")
    (earlier / "link").symlink_to("/etc/passwd")
    os.mkfifo(earlier / "pipe")
    with offline(tmp_path / "replay", provided=earlier) as replay:
        (one,) = found(replay, "query=*&scope=build-step")
        assert (one["path"], one["file_size"]) == ("pkg/a.tgz", 7)
        assert one["sha256sum"] == hashlib.sha256(b"package").hexdigest()
        path = "/" + one["url"].split("/", 3)[3]
        assert replay.call("GET", path, token="")[1] == b"package"
        assert uploaded(replay, "pkg/a.tgz", b"newer") == 204
        (newest,) = found(replay, "query=pkg/*")
        assert newest["file_size"] == 5
        assert (earlier / "pkg" / "a.tgz").read_bytes() == b"package"
        assert replay.offline
        assert [one.size for one in replay.offline.report().artifacts] == [5]
        assert found(replay, "query=nothing") == []
        assert replay.shown == ["no artifact is here for nothing"]


def test_other_content_than_announced_is_refused(replay: Served) -> None:
    assert uploaded(replay, "a", b"longer", announced=b"long") == 422
    assert uploaded(replay, "a", b"abcd", announced=b"abce") == 422
    assert found(replay, "query=*") == []


def test_the_store_takes_only_what_was_announced(replay: Served) -> None:
    body = form({"path": "a"}, b"b")
    for path in ("/store/guessed", f"/store/{replay.own.job}"):
        assert replay.call("POST", path, headers=KIND, body=body)[0] == 404
        assert replay.call("GET", path)[0] == 404
    made = replay.job_call("POST", "artifacts", batch("a", b"b"))[1]
    where = made["upload_instructions"]["action"]["path"]
    other = form({"path": "other"}, b"b")
    assert replay.call("POST", where, headers=KIND, body=other)[0] == 404


def test_a_store_of_the_jobs_own_is_kept_in_mind(replay: Served) -> None:
    one = batch("a", b"b")
    one["upload_destination"] = one["artifacts"][0]["url"] = "s3://bucket/a"
    made = replay.job_call("POST", "artifacts", one)[1]
    states = [{"id": made["artifact_ids"][0], "state": "finished"}]
    replay.job_call("PUT", "artifacts", {"artifacts": states})
    (known,) = found(replay, "query=a")
    assert (known["upload_destination"], known["url"]) == ("s3://bucket/a", "s3://bucket/a")


def test_everything_has_a_limit(replay: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meta_data, "MAX_KEYS", 1)
    monkeypatch.setattr(annotations, "MAX_ANNOTATIONS", 1)
    monkeypatch.setattr(pipelines, "MAX_UPLOADS", 1)
    monkeypatch.setattr(artifacts, "MAX_ARTIFACTS", 1)
    monkeypatch.setattr(steps, "MAX_VALUE", 3)
    monkeypatch.setattr(artifacts, "MAX_TOTAL", 99)
    calls = (
        ("data/set", lambda n: {"key": f"{n}", "value": "v"}),
        ("annotations", lambda n: {"context": f"{n}", "body": "b"}),
        ("pipelines", lambda n: {"uuid": f"{n}", "pipeline": []}),
        ("artifacts", lambda n: {**batch("a", b""), "id": f"{n}"}),
    )
    for path, document in calls:
        statuses = [replay.job_call("POST", path, document(n))[0] for n in range(2)]
        assert statuses[0] == 200
        assert 400 <= statuses[1] < 500
    monkeypatch.setattr(artifacts, "MAX_ARTIFACTS", 99)
    one = {**batch("a", b"x" * 100), "id": "larger"}
    assert replay.job_call("POST", "artifacts", one)[0] == 403
    monkeypatch.setattr(annotations, "MAX_TOTAL", 3)
    assert replay.job_call("POST", "annotations", {"context": "0", "body": "bbbb"})[0] == 422
    update = {"build_id": replay.own.build, "attribute": "a", "value": "ab", "append": True}
    statuses = [replay.call("PUT", f"/steps/{replay.own.step}", update)[0] for _ in range(2)]
    assert statuses == [200, 422]
    value = {"key": "0", "value": "x" * (100 << 10)}
    assert replay.job_call("POST", "data/set", value)[0] == 200
    assert replay.job_call("POST", "data/set", {**value, "value": value["value"] + "x"})[0] == 400


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("data/set", {"key": "a"}), ("data/set", {"key": "a", "value": " \n"}),
        ("data/set", {"key": "", "value": "b"}), ("data/set", {"key": 1, "value": "b"}),
        ("data/set-batch", {"items": {}}), ("data/set-batch", {"items": ["a"]}),
        ("data/get", []), ("data/get", {"key": None}), ("artifacts", {"id": "a"}),
        ("artifacts", {"id": "a", "artifacts": []}),
        ("artifacts", {"id": "a", "artifacts": [1]}),
        ("artifacts", {"id": "a", "artifacts": [{"path": "a", "file_size": -1}]}),
        ("artifacts", {"id": "a", "artifacts": [{"path": "", "file_size": 1}]}),
        ("annotations", {"body": 1}), ("annotations", {"body": "a", "style": "x"}),
        ("annotations", {"body": "a", "priority": 11}), ("annotations", {"scope": "other"}),
        ("annotations", {"body": "a", "context": "c" * 101}), ("pipelines", {"uuid": "a"}),
        ("pipelines", {"pipeline": {}}),
    ],
)  # fmt: skip
def test_a_malformed_call_gets_a_message(replay: Served, path: str, document: Any) -> None:
    status, answer = replay.job_call("POST", path, document)
    assert status == 400
    assert answer["message"]
    assert replay.refused == []


@pytest.mark.parametrize(
    "body", [b"{", b"\xff", b"[" * 10_000, b'{"key": "a", "key": "b"}', b'{"key": NaN}', b"1"]
)
def test_a_body_that_is_no_json_object_gets_a_message(replay: Served, body: bytes) -> None:
    status, answer = replay.job_call("POST", "data/get", body=body)
    assert (status, answer["message"][:8]) == (400, "the body")


def test_odd_texts_survive_and_are_shown_harmlessly(replay: Served) -> None:
    odd = "\x1b[2J\u202e\ud800é\r\n"
    assert replay.job_call("POST", "data/set", {"key": odd, "value": odd})[0] == 200
    assert replay.job_call("POST", "data/get", {"key": odd})[1]["value"] == odd
    assert replay.job_call("POST", "annotations", {"context": odd, "body": odd})[0] == 200
    change = {"uuid": "u", "pipeline": {"steps": [{"command": odd, "label": odd}, odd, None, 7]}}
    assert replay.job_call("POST", "pipelines", change)[0] == 200
    assert replay.call("PUT", f"/jobs/{replay.own.job}", {odd: odd})[0] == 200
    assert replay.shown
    assert all(is_harmless(line) for line in "\n".join(replay.shown).split("\n"))


def test_the_report_has_everything(replay: Served, tmp_path: Path) -> None:
    replay.job_call("POST", "data/set", {"key": "a", "value": "b"})
    uploaded(replay, "out/a", b"content")
    replay.job_call("POST", "annotations", {"body": "low", "context": "x", "priority": 1})
    replay.job_call("POST", "annotations", {"body": "high", "context": "y", "priority": 9})
    replay.job_call("POST", "pipelines", {"uuid": "u", "pipeline": {"steps": ["wait"]}})
    replay.call("PUT", f"/jobs/{replay.own.job}", {"timeout": 20})
    replay.call("POST", f"/builds/{replay.own.build}/cancel")
    assert replay.offline
    report = replay.offline.report()
    assert report.meta_data == {"a": "b"}
    assert [(one.path, one.state, one.names) for one in report.artifacts] == [
        ("out/a", "finished", ("out", "a"))
    ]
    assert [one.body for one in report.annotations] == ["high", "low"]
    assert [path.read_text() for path in report.pipelines] == ["steps:\n- wait\n"]
    assert report.updates == {"timeout": "20"}
    assert "a replay goes on" in replay.shown[-1]
    assert sorted(path.name for path in (tmp_path / "replay").iterdir()) == [
        "annotations.html", "artifacts", "pipelines"
    ]  # fmt: skip


@pytest.mark.parametrize("depth", [100, 300, 900, 980, 10_000, 100_000])
def test_a_pipeline_may_be_nested_however_deeply(replay: Served, depth: int) -> None:
    deep = b'{"uuid": "u", "pipeline": ' + b"[" * depth + b"]" * depth + b"}"
    status, answer = replay.job_call("POST", "pipelines", body=deep)
    assert status == 200 or (status == 400 and answer["message"])


def test_a_full_disk_is_an_answer(replay: Served, tmp_path: Path) -> None:
    (tmp_path / "replay" / "pipelines").write_text("in the way")
    status, answer = replay.job_call("POST", "pipelines", {"uuid": "u", "pipeline": {}})
    assert status == 507
    assert "cannot write" in answer["message"]
    (reported,) = replay.refusals(1)
    assert reported.why == "the replay cannot write: File exists"


def test_a_body_that_the_disk_does_not_take_is_refused_and_reported(
    replay: Served, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "replay")
    change = {"uuid": "u", "pipeline": {"steps": [{"command": "x" * (2 * IN_MEMORY)}]}}
    status, answer = replay.job_call("POST", "pipelines", change)
    assert (status, "cannot be written: No such file" in answer["message"]) == (507, True)
    (reported,) = replay.refusals(1)
    assert "what it sends cannot be written" in reported.why


def test_a_big_pipeline_is_json(replay: Served, tmp_path: Path) -> None:
    change = {"uuid": "u", "pipeline": {"steps": [{"command": "x" * 300_000}] * 3}}
    assert replay.job_call("POST", "pipelines", change)[0] == 200
    written = tmp_path / "replay/pipelines/1.json"
    assert json.loads(written.read_text()) == change["pipeline"]


def test_a_tree_is_cut_and_takes_any_value() -> None:
    assert tree({"steps": "wait"}) == []
    inner = {"group": "b", "steps": [{"command": ["c", "d"]}]}
    shown = tree([{"group": "a", "steps": [inner]}])
    assert shown == ["╰─ group: a", "   ╰─ group: b", "      ╰─ c"]
    assert len(tree(["wait"] * 1000)) == pipelines.MAX_LINES + 1
    assert tree([{"trigger": "deploy", "label": ":rocket:"}, {"wait": None}, {}]) == [
        "├─ trigger: :rocket:", "├─ wait", "╰─ a step"
    ]  # fmt: skip
