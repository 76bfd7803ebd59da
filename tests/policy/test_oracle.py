"""The decision against what the documentation says about single jobs."""

import pytest

from bootstrap.errors import Refused, WrongConfiguration
from bootstrap.job.assemble import claims_of
from bootstrap.job.claims import confirmed
from bootstrap.job.model import Claims, Known, Provenance
from bootstrap.policy.decide import agent_tags, decide, with_commit
from bootstrap.policy.model import Admitted, Policy
from bootstrap.policy.parse import parse, parse_guardrails
from tests.job.given import job_env, process_env
from tests.policy.oracle import conditions, limits, requirements, runs
from tests.policy.oracle.pairs import GUARDRAIL, INVALID, REFUSED, Pair

PAIRS = [*conditions.ROWS, *runs.ROWS, *limits.ROWS, *requirements.ROWS]


def found(pair: Pair) -> str:
    """Return the rule that admits the job, or which kind of refusal there is."""
    document = f"pipeline: {pair.pipeline}\nrepository: {pair.repositories}\nrules:\n{pair.rules}"
    try:
        policy = parse(document, "policy")
        rails = parse_guardrails(pair.guardrails, "guardrails") if pair.guardrails else None
    except WrongConfiguration:
        return INVALID
    try:
        claims = claims_of_job(pair, policy)
    except Refused:
        return REFUSED
    decision = decide(claims, policy, rails)
    if isinstance(decision, Admitted):
        return decision.rule
    held = all(r.holds for r in decision.reasons if not r.subject.startswith("guardrail"))
    return GUARDRAIL if decision.reasons and held else REFUSED


def claims_of_job(pair: Pair, policy: Policy) -> Claims:
    env = job_env(BUILDKITE_PIPELINE_SLUG=pair.pipeline)
    claims = claims_of({**env, **pair.env}, process_env())
    if pair.commit:
        claims = with_commit(claims, Known(value=pair.commit, provenance=Provenance.HOST))
    return confirmed(claims, token(claims), agent_tags(policy)) if pair.signed else claims


def token(claims: Claims) -> dict[str, str]:
    """Return what Buildkite signs about this job."""
    names = {
        "organization_slug": "ORGANIZATION_SLUG", "pipeline_slug": "PIPELINE_SLUG",
        "build_branch": "BRANCH", "build_tag": "TAG", "build_commit": "COMMIT",
        "build_source": "SOURCE", "step_key": "STEP_KEY", "build_number": "BUILD_NUMBER",
        "job_id": "JOB_ID", "queue_key": "AGENT_META_DATA_QUEUE",
        "agent_tag:size": "AGENT_META_DATA_SIZE",
    }  # fmt: skip
    return {
        claim: claims.env[f"BUILDKITE_{name}"]
        for claim, name in names.items()
        if f"BUILDKITE_{name}" in claims.env
    }


@pytest.mark.parametrize("pair", PAIRS, ids=[f"{n}: {p.because}" for n, p in enumerate(PAIRS)])
def test_decision_is_the_documented_one(pair: Pair) -> None:
    assert found(pair) == pair.expected, pair.because


def test_pairs_are_unique_and_cover_every_kind_of_decision() -> None:
    assert len(PAIRS) >= 300
    assert len({repr((p.rules, p.guardrails, p.env, p.repositories, p.pipeline, p.signed,
                      p.commit)) for p in PAIRS}) == len(PAIRS)  # fmt: skip
    kinds = {p.expected for p in PAIRS}
    assert kinds == {"only", "rest", REFUSED, GUARDRAIL, INVALID}
