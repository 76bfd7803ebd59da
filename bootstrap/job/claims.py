"""What Buildkite signs about a job, against what the job's environment says.

Which claims there are: docs/agent-contract.md#signed-tokens
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from bootstrap.errors import Refused
from bootstrap.job.facts import AGENT_TAG, tag_fact
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


_TAG = "agent_tag:"


def asked(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the claims that have to be asked for, those of these agent tags among them."""
    return (*OPTIONAL, *(f"{_TAG}{tag}" for tag in tags))


def confirmed(job: Job, claims: Mapping[str, Any], tags: Iterable[str] = ()) -> Job:
    """Return the job with signed facts where there are claims, and for these agent tags.

    A tag that the token does not name is absent, whatever the environment says. Raises Refused if
    a claim that every job has is missing, or if the environment says anything else than a claim:
    one of the two was tampered with.
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
    for tag in tags:
        facts[tag_fact(tag)] = _tag(tag, claims, job.env)
    return replace(job, facts=facts)


def _tag(tag: str, claims: Mapping[str, Any], env: Mapping[str, str]) -> Fact:
    claim, variable = f"{_TAG}{tag}", f"{AGENT_TAG}{tag.upper().replace('-', '_')}"
    said = "" if claims.get(claim) is None else str(claims[claim])
    if variable in env:  # how Buildkite spells unusual tags there is not documented
        _agree(variable, env[variable], said)
    return _fact(said, claim)


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
