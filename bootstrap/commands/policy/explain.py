"""`airlock policy explain`: every condition of every rule, checked for one job."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bootstrap.buildkite.env_files import parse_json, parse_shell
from bootstrap.commands.policy.source import Output, catalogue
from bootstrap.errors import CannotStart, WrongConfiguration
from bootstrap.job.assemble import claims_of
from bootstrap.job.model import Claims, Provenance
from bootstrap.policy.catalogue import Catalogue, by_slug
from bootstrap.policy.decide import decide
from bootstrap.policy.match import verdict
from bootstrap.policy.model import Admitted, Decision, Grant, Policy, Reason
from bootstrap.policy.steering import left_out
from bootstrap.text import printable

# How `explain` names the party that vouches for a claim.
_SOURCES = {
    Provenance.AGENT: "vouched for by the agent",
    Provenance.JOB: "from the job's environment",
    Provenance.HOST: "checked by this host",
    Provenance.SIGNED: "signed by Buildkite",
}


def explain(
    *, env_file: Path, directory: Path | None, config_path: Path, as_json: bool, output: Output
) -> int:
    """Print every condition of every rule for the job; 0 if it is admitted, 77 if not."""
    claims = _claims(env_file)
    read = catalogue(directory, config_path)
    _require_documents(read, claims.pipeline)
    policy = by_slug(read.policies).get(claims.pipeline)
    decision = decide(claims, policy, read.guardrails)
    reasons = _all(claims, policy, decision)
    dropped = left_out(claims.env, decision.grant) if isinstance(decision, Admitted) else {}
    if as_json:
        document = {
            **asdict(decision),
            **({"grant": _granted(decision.grant)} if isinstance(decision, Admitted) else {}),
            "reasons": [asdict(reason) for reason in reasons],
            "left-out": dropped,
        }
        output(json.dumps(document, indent=2, default=str))
    else:
        _print(decision, reasons, output)
        for name, reason in dropped.items():
            output(f"{printable(name)} is left out of the job's environment: {reason}")
    return 0 if isinstance(decision, Admitted) else 77


def _require_documents(read: Catalogue, pipeline: str) -> None:
    """Raise WrongConfiguration for mistakes with which a host would end this job too."""
    used = {f"{name}.{suffix}" for name in (pipeline, "guardrails") for suffix in ("yaml", "yml")}
    details = tuple(
        detail
        for document in read.unreadable
        if document.origin.rpartition("/")[2] in {*used, pipeline}
        for detail in document.details
    )
    if details:
        raise WrongConfiguration(
            f"the documents for pipeline {pipeline} have mistakes",
            hint="Correct them first: with these, a host ends every job of the pipeline with 78.",
            details=details,
        )


def _claims(path: Path) -> Claims:
    """Read a copy of BUILDKITE_ENV_JSON_FILE or BUILDKITE_ENV_FILE, whichever form it has."""
    try:
        data = path.read_bytes()
        env = (parse_json if data.lstrip().startswith(b"{") else parse_shell)(data)
    except OSError as unreadable:
        raise _wrong(f"{path} cannot be read: {unreadable.strerror}") from unreadable
    except CannotStart as broken:
        raise _wrong(f"{path} is not the environment of a job: {broken.problem}") from broken
    if not env:
        raise _wrong(f"{path} is not the environment of a job: it holds no variable")
    return claims_of(env, process_env={})


def _wrong(problem: str) -> WrongConfiguration:
    return WrongConfiguration(
        problem,
        hint="Name a copy of the file that the agent writes for a job: one JSON object, or lines "
        'of NAME="value".',
    )


def _granted(grant: Grant) -> dict[str, Any]:
    """Return the grant's settings and kinds by their keys."""
    named = {kind.key.replace("-", "_"): kind.granted for kind in grant.kinds}
    return {**named, **{key: value for key, value in asdict(grant).items() if key != "kinds"}}


def _all(claims: Claims, policy: Policy | None, decision: Decision) -> tuple[Reason, ...]:
    """Return the verdicts of every rule, also of those after the match; guardrails last."""
    tried = (
        verdict(rule.name, condition, claims)
        for rule in (policy.rules if policy else ())
        for condition in rule.when
    )
    rails = (r for r in decision.reasons if r.subject.startswith("guardrail "))
    return (*tried, *rails)


def _print(decision: Decision, reasons: tuple[Reason, ...], output: Output) -> None:
    rule = None
    for reason in reasons:
        if reason.rule != rule:
            rule = reason.rule
            output(f"\n{rule}")
        mark = "yes" if reason.holds else "NO "
        source = f" ({_SOURCES[reason.provenance]})" if reason.provenance else ""
        output(
            f"  {mark}  {reason.subject:16} expected {reason.expected}, got {reason.got}{source}"
        )
    output("")
    if isinstance(decision, Admitted):
        role = decision.grant.role or "no role"
        output(f"admitted by rule {decision.rule!r} of {decision.policy_origin}, with {role}")
    else:
        output(f"refused: {decision.problem}\n{decision.hint}")
