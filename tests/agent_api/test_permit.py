"""The decision of what is sent to Buildkite: only what the rule allows, only about the own job."""

import io
import json
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.agent_api import routes
from bootstrap.agent_api.gateway.permit import Forwarded, judged, refuses
from bootstrap.agent_api.model import AgentApiGrant, Call, MalformedError, OwnIds
from bootstrap.agent_api.routes import COMMIT, Kind
from tests.agent_api.served import AUDIENCE, EVERYTHING

JOB, BUILD, STEP, FOREIGN = (f"0190e0a0-0000-4000-8000-00000000000{n}" for n in range(4))
OWN = OwnIds(job=JOB, build=BUILD, step=STEP)
NOTHING = AgentApiGrant()


def call(
    method: str,
    path: str,
    document: Any = None,
    query: Mapping[str, str] | None = None,
    *,
    body: bytes | None = None,
) -> Call:
    parts = tuple(path.split("/"))
    route = routes.find(method, parts)
    assert route, path
    content = (
        body if body is not None else b"" if document is None else json.dumps(document).encode()
    )
    return Call(
        route=route, method=method, path=parts, query=query or {}, headers={},
        body=io.BytesIO(content), size=len(content),
    )  # fmt: skip


EVERY = {
    Kind.META_DATA_READ: call("POST", f"jobs/{JOB}/data/get", {"key": "a"}),
    Kind.META_DATA_SET: call("POST", f"jobs/{JOB}/data/set", {"key": "a", "value": "b"}),
    Kind.META_DATA_SET_BATCH: call("POST", f"jobs/{JOB}/data/set-batch", {"items": []}),
    Kind.ARTIFACTS_CREATE: call("POST", f"jobs/{JOB}/artifacts", {}),
    Kind.ARTIFACTS_UPDATE: call("PUT", f"jobs/{JOB}/artifacts", {}),
    Kind.ARTIFACTS_SEARCH: call("GET", f"builds/{BUILD}/artifacts/search"),
    Kind.ANNOTATE: call("POST", f"jobs/{JOB}/annotations", {}),
    Kind.ANNOTATION_REMOVE: call("DELETE", f"jobs/{JOB}/annotations/c"),
    Kind.PIPELINE_UPLOAD: call("POST", f"jobs/{JOB}/pipelines", {}),
    Kind.PIPELINE_STATUS: call("GET", f"jobs/{JOB}/pipelines/u"),
    Kind.STEP_EXPORT: call("POST", f"steps/{STEP}/export", {"build_id": BUILD}),
    Kind.STEP_UPDATE: call("PUT", f"steps/{STEP}", {"build_id": BUILD}),
    Kind.STEP_CANCEL: call("POST", f"steps/{STEP}/cancel", {"build_id": BUILD}),
    Kind.BUILD_CANCEL: call("POST", f"builds/{BUILD}/cancel"),
    Kind.JOB_UPDATE: call("PUT", f"jobs/{JOB}", {"timeout": "20"}),
    Kind.PROMISE_FAILURE: call("PUT", f"jobs/{JOB}/promise_failure", {}),
    Kind.OIDC: call("POST", f"jobs/{JOB}/oidc/tokens", {"audience": AUDIENCE}),
    Kind.SECRET: call("GET", f"jobs/{JOB}/secrets", query={"key": "CONTRACT"}),
    Kind.REPOSITORY_TOKEN: call("POST", f"jobs/{JOB}/repository_access_token", {}),
    Kind.CACHE: call("GET", "cache_registries/~"),
    Kind.STORE: call("GET", "store/k"),
    Kind.OF_AGENT: call("PUT", f"jobs/{JOB}/finish"),
}
NEVER = {Kind.REPOSITORY_TOKEN, Kind.STORE, Kind.OF_AGENT}
# The field of the grant that allows a call, which nothing else does.
BY_FIELD = {
    "meta_data": {Kind.META_DATA_READ, Kind.META_DATA_SET, Kind.META_DATA_SET_BATCH},
    "artifacts": {Kind.ARTIFACTS_CREATE, Kind.ARTIFACTS_UPDATE, Kind.ARTIFACTS_SEARCH},
    "annotations": {Kind.ANNOTATE, Kind.ANNOTATION_REMOVE},
    "pipeline_upload": {Kind.PIPELINE_UPLOAD, Kind.PIPELINE_STATUS},
    "steps": {Kind.STEP_EXPORT, Kind.STEP_UPDATE, Kind.JOB_UPDATE, Kind.PROMISE_FAILURE},
    "cancel": {Kind.STEP_CANCEL, Kind.BUILD_CANCEL},
    "other_builds": set(),
    "caches": {Kind.CACHE},
    "oidc_audiences": {Kind.OIDC},
    "secrets": {Kind.SECRET},
}


def verdict(one: Call, grant: AgentApiGrant = EVERYTHING) -> Forwarded | str:
    one.body.seek(0)
    return judged(one, grant, OWN)


def test_every_kind_of_call_is_here() -> None:
    assert set(EVERY) == set(Kind)
    assert set(BY_FIELD) == {field.name for field in fields(AgentApiGrant)}


@pytest.mark.parametrize("name", sorted(BY_FIELD))
def test_a_field_of_the_grant_allows_its_calls_and_no_other(name: str) -> None:
    granted: Any = {name: getattr(EVERYTHING, name) or True}
    withdrawn: Any = {name: getattr(NOTHING, name)}
    only, without = replace(NOTHING, **granted), replace(EVERYTHING, **withdrawn)
    allowed = {kind for kind, one in EVERY.items() if isinstance(verdict(one, only), Forwarded)}
    left = {kind for kind, one in EVERY.items() if isinstance(verdict(one, without), Forwarded)}
    assert allowed == BY_FIELD[name]
    assert left == set(Kind) - NEVER - BY_FIELD[name]


def test_by_default_only_the_commit_of_the_checkout_passes() -> None:
    asked = call("POST", f"jobs/{JOB}/data/exists", {"key": COMMIT, "job_id": FOREIGN})
    assert verdict(asked, NOTHING) == Forwarded(
        target=f"/jobs/{JOB}/data/exists",
        body=json.dumps({"key": COMMIT}).encode(),
        what="read meta-data",
    )
    setting = call("POST", f"jobs/{JOB}/data/set", {"key": COMMIT, "value": "v"})
    assert isinstance(verdict(setting, NOTHING), Forwarded)
    for refused in (
        call("POST", f"jobs/{JOB}/data/set", {"key": COMMIT + " ", "value": "v"}),
        call("POST", f"jobs/{JOB}/data/keys"),
        call("POST", f"jobs/{JOB}/data/set", {"key": COMMIT, "value": "v" * (1 << 16)}),
        call("POST", f"builds/{BUILD}/data/get", {"key": COMMIT}),
    ):
        assert isinstance(verdict(refused, NOTHING), str)


def test_what_is_refused_before_the_body_is_refused_with_it() -> None:
    for one in EVERY.values():
        for grant in (EVERYTHING, NOTHING):
            if refuses(one.route, grant):
                assert verdict(one, grant) == refuses(one.route, grant)


@pytest.mark.parametrize(
    "audience", [None, "", "sts.amazonaws.com ", "STS.amazonaws.com", "other", [AUDIENCE], 7, True]
)
def test_no_other_audience(audience: Any) -> None:
    asked = call("POST", f"jobs/{JOB}/oidc/tokens", {"audience": audience})
    assert isinstance(verdict(asked), str)


def test_a_request_for_a_token_is_composed_anew() -> None:
    path = f"jobs/{JOB}/oidc/tokens"
    document = {"audience": AUDIENCE, "lifetime": 60, "claims": ["cluster_id"],
                "aws_session_tags": ["pipeline_id"], "subject_claim": "pipeline_id"}  # fmt: skip
    made = verdict(call("POST", path, document, {"audience": "evil"}))
    assert made == Forwarded(
        target=f"/{path}",
        body=json.dumps(document).encode(),
        what=f"request an OIDC token: {AUDIENCE}",
    )
    with pytest.raises(MalformedError, match="audiences"):
        verdict(call("POST", path, {"audience": AUDIENCE, "audiences": ["evil"]}))
    twice = b'{"audience": "sts.amazonaws.com", "audience": "evil"}'
    with pytest.raises(MalformedError, match="twice"):
        verdict(call("POST", path, body=twice))


@pytest.mark.parametrize("subject", ["build_branch", "sub", "step_key", "", 7, ["pipeline_id"]])
def test_a_subject_that_an_author_could_choose_is_refused(subject: Any) -> None:
    document = {"audience": AUDIENCE, "subject_claim": subject}
    made = verdict(call("POST", f"jobs/{JOB}/oidc/tokens", document))
    assert isinstance(made, str)
    assert "subject" in made


@pytest.mark.parametrize("key", ["", "contract", "CONTRACT ", "OTHER", "CONTRACT,OTHER"])
def test_no_other_secret(key: str) -> None:
    assert isinstance(verdict(call("GET", f"jobs/{JOB}/secrets", query={"key": key})), str)


@pytest.mark.parametrize(
    "step", [FOREIGN, FOREIGN.upper(), FOREIGN.replace("-", ""), "{" + FOREIGN + "}", STEP.upper()]
)
def test_a_step_of_another_build_is_not_reached_by_its_id(step: str) -> None:
    expected = step != STEP
    assert isinstance(verdict(call("PUT", f"steps/{step}", {"build_id": BUILD})), str) == expected


@pytest.mark.parametrize("build", [FOREIGN, "", None, 7, BUILD.upper() + " "])
def test_a_steps_key_is_one_of_the_own_build(build: Any) -> None:
    assert isinstance(verdict(call("PUT", "steps/deploy", {"build_id": build})), str)
    made = verdict(call("PUT", "steps/deploy", {"attribute": "label"}))
    assert isinstance(made, Forwarded)
    assert json.loads(made.body or b"") == {"attribute": "label", "build_id": BUILD}


def test_dots_are_written_as_the_agent_writes_them() -> None:
    made = verdict(call("DELETE", f"jobs/{JOB}/annotations/a.b c", query={"scope": "job"}))
    target = f"/jobs/{JOB}/annotations/a%2Eb%20c?scope=job"
    assert made == Forwarded(target=target, body=None, what="remove an annotation")


def test_without_an_own_build_there_is_none() -> None:
    nobody = OwnIds(job=JOB)
    for path in (f"builds/{BUILD}/cancel", "steps/deploy/cancel"):
        assert isinstance(judged(call("POST", path, {}), EVERYTHING, nobody), str)


TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)
PARTS = st.sampled_from([
    "jobs", "builds", "steps", "data", "get", "set", "keys", "oidc", "tokens", "secrets", "cancel",
    "artifacts", "search", "pipelines", "annotations", "export", "cache_registries", "store",
    JOB, BUILD, STEP, FOREIGN, "deploy", "..%2f", "a/../b", "a?b=c", "%2e%2e", "a#b", "a;b",
]) | TEXTS.filter(lambda part: part not in {".", ".."})  # fmt: skip
DOCUMENTS: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.sampled_from(["key", "build_id", "audience", "attribute"]) | TEXTS,
    st.sampled_from([COMMIT, BUILD, FOREIGN, AUDIENCE, "", None, 1, []]) | TEXTS,
    max_size=4,
)


@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    st.lists(PARTS, min_size=1, max_size=5),
    DOCUMENTS,
    st.dictionaries(st.sampled_from(["key", "query", "async", "job", "_method"]), TEXTS),
    st.sampled_from([EVERYTHING, NOTHING, replace(EVERYTHING, meta_data=False)]),
)
def test_whatever_is_sent_has_the_path_that_was_judged(
    method: str, path: list[str], document: Any, query: dict[str, str], grant: AgentApiGrant
) -> None:
    route = routes.find(method, tuple(path))
    if route is None:
        return
    content = json.dumps(document).encode()
    asked = Call(
        route=route, method=method, path=tuple(path), query=query, headers={},
        body=io.BytesIO(content), size=len(content),
    )  # fmt: skip
    try:
        made = judged(asked, grant, OWN)
    except MalformedError:
        return
    if isinstance(made, str):
        assert made
        return
    target = urlsplit(made.target)
    assert [unquote(part) for part in target.path[1:].split("/")] == path
    assert ".." not in target.path
    assert set(parse_qs(target.query)) <= set(query) - {"job", "_method"}
    assert route.kind not in NEVER
    assert route.build in {"", BUILD}
    assert route.step != FOREIGN


@pytest.mark.parametrize(
    "document",
    [{"state": "finished", "exit_status": "0"}, {"timeout": "20", "exit_status": "0"},
     {"Timeout": "20"}, {"output": "forged"}, {"env": {"A": "b"}}],
)  # fmt: skip
def test_job_cannot_report_its_own_end_as_an_update(document: dict[str, Any]) -> None:
    found = verdict(call("PUT", f"jobs/{JOB}", document))
    assert isinstance(found, str)
    assert found.startswith("the job may update its timeout, but not ")
    with pytest.raises(MalformedError, match="twice"):
        verdict(call("PUT", f"jobs/{JOB}", body=b'{"timeout": "1", "timeout": "2"}'))
