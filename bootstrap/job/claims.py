"""What Buildkite signs about a job, merged into its claims where the environment agrees.

Which claims there are: docs/agent-contract.md#signed-tokens
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from bootstrap.errors import Refused
from bootstrap.job.facts import AGENT_TAG, tag_fact
from bootstrap.job.model import Absent, Claims, Fact, Known, Provenance
from bootstrap.text import printable

# Claim -> the fact it replaces, and the variable that must have the same value.
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
OPTIONAL = ("queue_key",)  # only in the token if it is requested; not every cluster has queues
REQUIRED = frozenset({"organization_slug", "pipeline_slug", "build_branch", "build_commit",
                      "job_id"})  # fmt: skip
_TAG = "agent_tag:"


def requested(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the claims to request: the optional ones and those of these agent tags."""
    return (*OPTIONAL, *(f"{_TAG}{tag}" for tag in tags))


def confirmed(claims: Claims, signed: Mapping[str, Any], tags: Iterable[str] = ()) -> Claims:
    """Return the claims with what a verified token signs, also about these agent tags.

    A tag that the token does not name is absent, whatever the environment has. Raises Refused if
    the token lacks a claim that every job has, or if the environment differs from the token: one
    of the two is forged.
    """
    missing = sorted(name for name in REQUIRED if not signed.get(name))
    if missing:
        raise Refused(
            f"Buildkite's signed token lacks {', '.join(missing)}",
            hint="Check that policy.issuer in airlock.toml is Buildkite's issuer.",
        )
    facts: dict[str, Fact] = dict(claims.facts)
    for claim, (fact, variable) in _CLAIMS.items():
        if claim in OPTIONAL and claim not in signed:
            continue
        value = _text(signed, claim)
        _check_equal(variable, claims.env.get(variable, ""), value)
        if fact:
            facts[fact] = _fact(value, claim)
    for tag in tags:
        facts[tag_fact(tag)] = _tag(tag, signed, claims.env)
    return replace(claims, facts=facts)


def agreeing(claims: Claims, tags: Iterable[str] = ()) -> dict[str, str]:
    """Return what Buildkite's token says about a job whose environment is true.

    For commands, which are about jobs without a token: `confirmed` accepts this, and the result has
    the provenance that decisions see on hosts with signed identity.
    """
    signed = {claim: claims.env.get(variable, "") for claim, (_, variable) in _CLAIMS.items()}
    named = {f"{_TAG}{tag}": claims.env.get(_variable(tag), "") for tag in tags}
    return {claim: value for claim, value in {**signed, **named}.items() if value}


def _text(signed: Mapping[str, Any], claim: str) -> str:
    return "" if signed.get(claim) is None else str(signed[claim])


def _tag(tag: str, signed: Mapping[str, Any], env: Mapping[str, str]) -> Fact:
    claim, variable = f"{_TAG}{tag}", _variable(tag)
    value = _text(signed, claim)
    if variable in env:  # how Buildkite spells unusual tags there is not documented
        _check_equal(variable, env[variable], value)
    return _fact(value, claim)


def _variable(tag: str) -> str:
    return f"{AGENT_TAG}{tag.upper().replace('-', '_')}"


def _check_equal(variable: str, env: str, signed: str) -> None:
    if env != signed:
        raise Refused(
            f"{variable} is {printable(env)!r}, but Buildkite's signed token says "
            f"{printable(signed)!r}",
            hint="The pipeline, a step's env or the build's own environment sets that variable. "
            "Remove it there.",
        )


def _fact(value: str, claim: str) -> Fact:
    if not value:
        return Absent(why=f"the signed token has no {claim}")
    return Known(value=value, provenance=Provenance.SIGNED)
