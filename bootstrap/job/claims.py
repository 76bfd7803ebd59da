"""What Buildkite signs about a job, against what the job's environment says (contract 6.4)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bootstrap.errors import Refused
from bootstrap.job.model import Absent, Fact, Job, Known, Provenance
from bootstrap.text import printable

# Claim -> the fact it replaces, and the variable that must not say anything else.
_CLAIMS = {
    "organization_slug": ("organization", "BUILDKITE_ORGANIZATION_SLUG"),
    "pipeline_slug": ("pipeline", "BUILDKITE_PIPELINE_SLUG"),
    "build_branch": ("branch", "BUILDKITE_BRANCH"),
    "build_tag": ("tag", "BUILDKITE_TAG"),
    "build_commit": ("commit", "BUILDKITE_COMMIT"),
    "build_source": ("source", "BUILDKITE_SOURCE"),
    "step_key": ("step", "BUILDKITE_STEP_KEY"),
    "queue_key": ("queue", "BUILDKITE_AGENT_META_DATA_QUEUE"),
    "build_number": (None, "BUILDKITE_BUILD_NUMBER"),
    "job_id": (None, "BUILDKITE_JOB_ID"),
}
OPTIONAL = ("queue_key",)  # only in the token if it is asked for; not every cluster has queues
REQUIRED = frozenset({"organization_slug", "pipeline_slug", "build_branch", "build_commit",
                      "job_id"})  # fmt: skip


def confirmed(job: Job, claims: Mapping[str, Any]) -> Job:
    """Return the job with signed facts where there are claims.

    Raises Refused if a claim that every job has is missing, or if the environment says anything
    else than a claim: one of the two was tampered with.
    """
    missing = sorted(name for name in REQUIRED if not claims.get(name))
    if missing:
        raise Refused(
            f"Buildkite's signed token does not say {', '.join(missing)}",
            hint="Is policy.issuer in airlock.toml Buildkite's?",
        )
    facts: dict[str, Fact] = dict(job.facts)
    for claim, (fact, variable) in _CLAIMS.items():
        if claim in OPTIONAL and claim not in claims:
            continue
        said = "" if claims.get(claim) is None else str(claims[claim])
        _agree(variable, job.env.get(variable, ""), said)
        if fact:
            facts[fact] = _fact(said, claim)
    return replace(job, facts=facts)


def _agree(variable: str, env: str, signed: str) -> None:
    if env != signed:
        raise Refused(
            f"{variable} is {printable(env)!r}, but Buildkite's signed token says "
            f"{printable(signed)!r}",
            hint="Something sets that variable: a pipeline, a step's env, or whoever started the "
            "build. Take it out there.",
        )


def _fact(said: str, claim: str) -> Fact:
    if not said:
        return Absent(why=f"the signed token has no {claim}")
    return Known(value=said, provenance=Provenance.SIGNED)
