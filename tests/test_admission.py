"""Admission: claims are confirmed before the decision, and recorded before anything is done."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootstrap import admission
from bootstrap.admission import Admission
from bootstrap.errors import CannotStart, Refused, WrongConfiguration
from bootstrap.host.config import Host, parse
from bootstrap.job.assemble import agent_of
from bootstrap.job.model import Agent, Claims, Known, Provenance
from bootstrap.log import JobLog
from bootstrap.policy.model import Admitted, Denied, Workspace
from bootstrap.record import Record
from bootstrap.secret import Secret
from tests.fakes.simulator import Call, Reply, json_reply, loopback
from tests.job.given import JOB_ID, job_env, process_env
from tests.job.test_claims import CLAIMS
from tests.job.test_identity import Issuer, token
from tests.policy.given import HEAD, claims

MAIN = "  - {name: main, when: {branch: main}, allow: {}}\n"
ROLE = "arn:aws:iam::111122223333:role/observed"


class Signing(Issuer):
    """Signs a token for whoever asks, with `claims`, beside publishing its key."""

    claims = CLAIMS

    def answer(self, call: Call) -> Reply:
        if call.path.endswith("/oidc/tokens"):
            return json_reply({"token": token(self, **self.claims).reveal()})
        return super().answer(call)


@pytest.fixture
def buildkite() -> Iterator[Signing]:
    with Signing(loopback()) as signing:
        yield signing


def host(tmp_path: Path, rules: str = MAIN, **policy: Any) -> Host:
    """Return a host whose store has a policy of these rules."""
    store = tmp_path / "policies"
    store.mkdir(mode=0o755)
    (store / "storefront.yaml").write_text(HEAD + rules)
    document = {
        "policy": {"store": f"file:{store}", **policy},
        "sandbox": {"image": "job:1"},
        "paths": {"runtime": f"{tmp_path}/run", "records": f"{tmp_path}/records.jsonl"},
    }
    return parse(document, tmp_path)


def agent(endpoint: str = "") -> Agent:
    return agent_of(job_env(), process_env(BUILDKITE_AGENT_ENDPOINT=endpoint))


def decided(host: Host, of: Claims | None = None, *, by: Agent | None = None) -> Admission:
    record = Record(host.paths.records, "now")
    return admission.decide(of or claims(), by or agent(), host, record, JobLog(lambda _: None))


def admit(tmp_path: Path, host: Host, of: Claims, by: Agent | None = None) -> Any:
    record = Record(tmp_path / "records.jsonl", "now")
    return admission.admit(of, by or agent(), host, record, JobLog(lambda _: None))


def events(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]


def test_an_admission_has_the_claims_and_the_decision_about_them(tmp_path: Path) -> None:
    made = decided(host(tmp_path))
    assert made.claims == claims()
    assert isinstance(made.decision, Admitted)
    assert made.enforced


def test_an_admitted_job_is_recorded_with_every_reason(tmp_path: Path) -> None:
    found, admitted = admit(tmp_path, host(tmp_path), claims())
    assert (found, admitted.rule) == (claims(), "main")
    (event,) = events(tmp_path)
    assert (event["event"], event["rule"], event["job"]) == ("admitted", "main", JOB_ID)
    assert event["policy"]["origin"].endswith("storefront.yaml")
    assert [(r["subject"], r["got"], r["provenance"]) for r in event["reasons"]] == [
        ("branch", "main", "job"), ("tag", "none", None), ("pull-request", "no", "job"),
    ]  # fmt: skip


def test_a_refused_job_is_recorded_and_sees_every_failed_condition(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no rule of") as refusal:
        admit(tmp_path, host(tmp_path), claims(BUILDKITE_BRANCH="dev"))
    assert refusal.value.details == ("rule 'main': branch: expected main, got dev",)
    (event,) = events(tmp_path)
    assert (event["event"], event["nearest"], event["enforced"]) == ("denied", "main", True)


def test_a_decision_that_cannot_be_recorded_admits_nothing(tmp_path: Path) -> None:
    record = Record(Path("/dev/full"), "now")
    with pytest.raises(CannotStart, match="the audit record cannot be written"):
        admission.admit(claims(), agent(), host(tmp_path), record, JobLog(lambda _: None))


@pytest.mark.parametrize("accepted", [False, True])
def test_an_agents_own_token_ends_it_unless_the_operator_accepts_that(
    tmp_path: Path, *, accepted: bool
) -> None:
    own = Agent(values={}, token=Secret("bkat_x"), own_token=False)
    if accepted:
        here = host(tmp_path, **{"agent-tokens": "any"})
        assert admit(tmp_path, here, claims(), own)[1].rule == "main"
        return
    with pytest.raises(WrongConfiguration, match="is not this job's alone"):
        admit(tmp_path, host(tmp_path), claims(), own)
    assert events(tmp_path) == [], "there was no decision"


def signed(tmp_path: Path, buildkite: Signing, rules: str = MAIN) -> Host:
    return host(tmp_path, rules, identity="signed", issuer=buildkite.url)


def test_signed_claims_are_what_is_decided_about_and_travel_on(
    tmp_path: Path, buildkite: Signing
) -> None:
    here, by = signed(tmp_path, buildkite), agent(buildkite.url)
    found, _ = admit(tmp_path, here, claims(), by)
    assert found.facts["branch"] == Known(value="main", provenance=Provenance.SIGNED)
    assert found.env == claims().env
    (event,) = events(tmp_path)
    assert [r["provenance"] for r in event["reasons"]] == ["signed", None, "job"]
    asked = next(call for call in buildkite.calls if call.path.endswith("/oidc/tokens"))
    assert asked.json() == {"audience": "airlock", "claims": ["queue_key"]}


def test_the_tags_that_a_policy_asks_about_are_asked_for(
    tmp_path: Path, buildkite: Signing
) -> None:
    rules = "  - {name: r, when: {agent-tag: {env: prod}}, allow: {}}\n"
    buildkite.claims = {**CLAIMS, "agent_tag:env": "prod"}
    of = claims(BUILDKITE_AGENT_META_DATA_ENV="prod")
    made = decided(signed(tmp_path, buildkite, rules), of, by=agent(buildkite.url))
    assert isinstance(made.decision, Admitted)
    asked = next(call for call in buildkite.calls if call.path.endswith("/oidc/tokens"))
    assert asked.json()["claims"] == ["queue_key", "agent_tag:env"]


def test_a_claim_that_is_signed_otherwise_is_refused(tmp_path: Path, buildkite: Signing) -> None:
    buildkite.claims = {**CLAIMS, "build_branch": "dev"}
    with pytest.raises(Refused, match="BUILDKITE_BRANCH is 'main', but Buildkite's signed token"):
        decided(signed(tmp_path, buildkite), by=agent(buildkite.url))


def test_a_policy_with_mistakes_ends_it_unless_it_is_only_observed(
    tmp_path: Path, buildkite: Signing
) -> None:
    here = signed(tmp_path, buildkite, "  - {nam: r}\n")
    with pytest.raises(WrongConfiguration, match="mistake"):
        decided(here, by=agent(buildkite.url))
    observing = replace_policy(here, mode="observe")
    made = decided(observing, by=agent(buildkite.url))
    assert isinstance(made.decision, Denied)
    assert not made.enforced
    assert made.claims.facts["branch"] == Known(value="main", provenance=Provenance.SIGNED)


def replace_policy(host: Host, **settings: Any) -> Host:
    return host.model_copy(update={"policy": host.policy.model_copy(update=settings)})


@pytest.mark.parametrize(
    ("env", "role", "workspace"),
    [
        ({}, ROLE, Workspace.REUSE),
        ({"BUILDKITE_PULL_REQUEST": "7"}, None, Workspace.FRESH),
        ({"BUILDKITE_PULL_REQUEST": ""}, None, Workspace.FRESH),
    ],
)
def test_an_observed_job_gets_what_the_operator_chose(
    tmp_path: Path, env: dict[str, str], role: str | None, workspace: Workspace
) -> None:
    here = host(tmp_path, **{"mode": "observe", "observe-role": ROLE})
    _, admitted = admit(tmp_path, here, claims(BUILDKITE_BRANCH="dev", **env))
    assert (admitted.rule, admitted.apart) == ("observed", ("dev", ""))
    assert (admitted.grant.role, admitted.grant.workspace) == (role, workspace)
    (event,) = events(tmp_path)
    assert (event["event"], event["enforced"]) == ("denied", False)


def test_a_pipeline_that_is_enforced_already_is_not_only_observed(tmp_path: Path) -> None:
    here = host(tmp_path, mode="observe", enforce=["storefront"])
    with pytest.raises(Refused, match="no rule of"):
        admit(tmp_path, here, claims(BUILDKITE_BRANCH="dev"))
    other = replace(claims(), pipeline="warehouse")
    assert not decided(here, other).enforced
