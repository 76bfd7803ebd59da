"""Signed claims replace those of the environment, and any difference is refused."""

from typing import Any

import pytest

from bootstrap.errors import Refused
from bootstrap.job.assemble import claims_of
from bootstrap.job.claims import confirmed, requested
from bootstrap.job.model import Absent, Known, Provenance
from tests.job.given import JOB_ID, job_env, process_env

CLAIMS: dict[str, Any] = {
    "organization_slug": "acme",
    "pipeline_slug": "storefront",
    "build_number": 42,
    "build_branch": "main",
    "build_tag": None,
    "build_commit": "3c44caebd2fcfca65b567fe290a1e31485d54f5b",
    "build_source": "ui",
    "step_key": "deploy",
    "job_id": JOB_ID,
}


def claimed(signed: dict[str, Any], **env: str) -> Any:
    return confirmed(claims_of(job_env(**env), process_env()), signed)


def test_claims_in_a_token_have_the_provenance_signed() -> None:
    claims = claimed(CLAIMS)
    for fact in ("organization", "pipeline", "branch", "commit", "source", "step"):
        assert claims.facts[fact].provenance is Provenance.SIGNED, fact
    assert isinstance(claims.facts["tag"], Absent)
    assert claims.facts["queue"] == Known(value="deploy", provenance=Provenance.JOB)
    with_queue = claimed({**CLAIMS, "queue_key": "deploy"})
    assert with_queue.facts["queue"].provenance is Provenance.SIGNED


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("BUILDKITE_ORGANIZATION_SLUG", "other"),
        ("BUILDKITE_PIPELINE_SLUG", "warehouse"),
        ("BUILDKITE_BRANCH", "Main"),
        ("BUILDKITE_TAG", "v1"),
        ("BUILDKITE_COMMIT", "HEAD"),
        ("BUILDKITE_SOURCE", "api"),
        ("BUILDKITE_STEP_KEY", ""),
        ("BUILDKITE_BUILD_NUMBER", "43"),
    ],
)
def test_an_environment_that_differs_from_the_token_is_refused(variable: str, value: str) -> None:
    with pytest.raises(Refused, match=f"{variable} is .* but Buildkite's signed token says"):
        claimed(CLAIMS, **{variable: value})


def test_a_queue_that_differs_from_the_token_is_refused() -> None:
    with pytest.raises(Refused, match="BUILDKITE_AGENT_META_DATA_QUEUE"):
        claimed({**CLAIMS, "queue_key": "default"})


def test_an_agents_tag_has_the_signed_value() -> None:
    env = {"BUILDKITE_AGENT_META_DATA_ENV": "prod"}
    claims = claims_of(job_env(**env), process_env())
    signed = confirmed(claims, {**CLAIMS, "agent_tag:env": "prod"}, ("env",))
    assert signed.facts["agent-tag:env"] == Known(value="prod", provenance=Provenance.SIGNED)
    for signing in (CLAIMS, {**CLAIMS, "agent_tag:env": None}, {**CLAIMS, "agent_tag:env": "dev"}):
        with pytest.raises(Refused, match="BUILDKITE_AGENT_META_DATA_ENV is 'prod'"):
            confirmed(claims, signing, ("env",))


def test_a_tag_that_the_agent_does_not_have_is_absent() -> None:
    claims = claims_of(job_env(), process_env())
    assert isinstance(confirmed(claims, CLAIMS, ("env",)).facts["agent-tag:env"], Absent)
    assert requested(("env", "instance-type")) == (
        "queue_key", "agent_tag:env", "agent_tag:instance-type",
    )  # fmt: skip


@pytest.mark.parametrize("claim", ["organization_slug", "pipeline_slug", "build_branch", "job_id"])
def test_a_token_without_a_required_claim_is_refused(claim: str) -> None:
    with pytest.raises(Refused, match=f"signed token lacks {claim}"):
        claimed({name: value for name, value in CLAIMS.items() if name != claim})
