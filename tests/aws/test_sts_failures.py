"""AssumeRole where it fails: the error, and the fix that its message names."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from bootstrap.aws.sts import Sts
from bootstrap.aws.sts_errors import explain
from bootstrap.errors import CannotStart, WrongConfiguration
from bootstrap.secret import Secret
from tests.aws.given import HUB, NO_TAGS, SHORT, by_token, failure, impatient
from tests.credentials.given import ROLE, host, request
from tests.fakes.simulator import loopback
from tests.fakes.sts import StrictSts, Trust
from tests.fakes.sts_authorization import Fleet, forged


def test_assume_without_a_listening_endpoint_names_it(tmp_path: Path) -> None:
    with loopback() as taken:
        port = taken.getsockname()[1]
    found = failure(host(tmp_path, f"http://127.0.0.1:{port}"))
    assert found.exit_code == 125
    assert f"http://127.0.0.1:{port}" in found.hint


def test_denial_is_final_and_prints_both_statements(sts: StrictSts, tmp_path: Path) -> None:
    found = failure(host(tmp_path, sts.url), role=NO_TAGS)
    assert found.exit_code == 125
    assert len(sts.calls) == 1
    assert "sts:TagSession" in found.hint
    policy, trust = (json.loads(detail.split(": ", 1)[1]) for detail in found.details)
    assert set(policy["Action"]) == {"sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"}
    assert [statement["Action"] for statement in trust] == [
        "sts:AssumeRole", ["sts:TagSession", "sts:SetSourceIdentity"],
    ]  # fmt: skip


def test_the_trust_that_a_denial_prints_is_for_this_pipeline_alone(
    sts: StrictSts, tmp_path: Path
) -> None:
    """Whoever pastes it must not open the role to all pipelines of the hosts."""
    found = failure(host(tmp_path, sts.url), role=NO_TAGS)
    trust = json.loads(found.details[1].split(": ", 1)[1])
    caller = trust[0]["Principal"]["AWS"]
    document = {"Version": "2012-10-17", "Statement": trust}
    asked = request(role=NO_TAGS)
    assert "airlock policy iam" in found.hint
    aws = Fleet(trust={NO_TAGS: document}, policies={})
    assert aws.trusts(asked, caller=caller)
    assert not aws.trusts(forged(asked, pipeline="docs"), caller=caller)
    assert not aws.trusts(forged(asked, pipeline=None), caller=caller)
    named = replace(asked, external_id="partner-7", source_identity=None)
    refused = explain(_Denied(), named, host(tmp_path, sts.url))
    (statement, other) = json.loads(refused.details[1].split(": ", 1)[1])
    assert statement["Condition"]["StringEquals"]["sts:ExternalId"] == "partner-7"
    assert other["Action"] == "sts:TagSession"


class _Denied(Exception):
    """As botocore raises it."""

    response = {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}  # noqa: RUF012


def test_unknown_role_is_a_denial(sts: StrictSts, tmp_path: Path) -> None:
    found = failure(host(tmp_path, sts.url), role="arn:aws:iam::111122223333:role/absent")
    assert "not authorized" in found.problem


def test_duration_above_the_roles_maximum_is_wrong_configuration(tmp_path: Path) -> None:
    """The caller is a user, because a role as the caller would be limited by role chaining."""
    caller = {"AKIAUSER": "arn:aws:iam::111122223333:user/ci"}
    with StrictSts(loopback(), {SHORT: Trust(max_seconds=3600)}, callers=caller) as sts:
        found = failure(host(tmp_path, sts.url, key="AKIAUSER"), role=SHORT, hours=2)
    assert isinstance(found, WrongConfiguration)
    assert "allow.session.duration" in found.hint


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "got none from file:"),
        ("", "got none from file:"),
        ("[other]\naws_access_key_id=A\naws_secret_access_key=B\n", "got none from file:"),
        ("[default]\naws_access_key_id=A\n", "no usable credentials"),
        ("not an ini file", "no usable credentials"),
    ],
)
def test_credentials_file_without_usable_keys_is_named(
    sts: StrictSts, tmp_path: Path, content: str | None, says: str
) -> None:
    aws = host(tmp_path, sts.url)
    path = tmp_path / "host-credentials"
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    found = failure(aws)
    assert says in found.problem
    assert "[default]" in found.hint
    assert sts.calls == []


def test_failure_message_holds_no_secret(sts: StrictSts, tmp_path: Path) -> None:
    found = failure(host(tmp_path, sts.url), role=NO_TAGS)
    text = " ".join((found.problem, found.hint, *found.details))
    assert "host-secret" not in text


@pytest.mark.parametrize("missing", [HUB, ROLE])
def test_refused_hop_names_caller_and_role(sts: StrictSts, tmp_path: Path, missing: str) -> None:
    sts.roles[HUB] = Trust()
    del sts.roles[missing]
    caller = {HUB: "fleet-instance-role", ROLE: "hub"}[missing]
    asked = replace(request(), via=replace(request(role=HUB), duration=timedelta(minutes=15)))
    with pytest.raises(CannotStart, match="STS issued no session for") as caught:
        impatient(host(tmp_path, sts.url)).assume(asked)
    policy, trust = caught.value.details
    assert policy.startswith(f"policy of arn:aws:iam::111122223333:role/{caller}: ")
    assert trust.startswith(f"trust policy of {missing}: ")


def test_web_identity_that_the_role_does_not_trust_prints_the_trust_statement(
    sts: StrictSts, tmp_path: Path
) -> None:
    with pytest.raises(CannotStart, match="STS issued no session for") as caught:
        impatient(host(tmp_path, sts.url)).assume(by_token())
    (statement,) = map(json.loads, caught.value.details)
    assert statement["Principal"]["Federated"] == (
        "arn:aws:iam::111122223333:oidc-provider/agent.buildkite.com"
    )
    assert statement["Condition"]["StringLike"] == {
        "agent.buildkite.com:sub": ["organization:acme:pipeline:storefront:*"]
    }
    assert "every job of the pipeline" in caught.value.hint


def test_web_identity_when_buildkite_signs_no_token_reports_buildkites_refusal(
    sts: StrictSts, tmp_path: Path
) -> None:
    def refused() -> Secret:
        raise CannotStart("Buildkite did not sign a token: HTTP 403", hint="…")

    with pytest.raises(CannotStart, match="did not sign a token"):
        Sts(host(tmp_path, sts.url), token=refused).assume(by_token())
    assert sts.requests == []
