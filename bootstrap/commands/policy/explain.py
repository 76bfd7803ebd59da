"""`airlock policy explain`: what a policy says to one job, rule by rule."""

import json
from dataclasses import asdict
from pathlib import Path

from bootstrap.buildkite.env_files import parse_json, parse_shell
from bootstrap.commands.policy.source import Output, catalogue
from bootstrap.errors import WrongConfiguration
from bootstrap.job.assemble import assemble
from bootstrap.job.model import Job
from bootstrap.policy.decide import decide
from bootstrap.policy.match import verdict
from bootstrap.policy.model import Admitted, Decision, Policy, Reason
from bootstrap.policy.steering import left_out

# What the agent would add; a policy asks about none of it.
_AGENT = {"BUILDKITE_AGENT_ACCESS_TOKEN": "none", "BUILDKITE_BUILD_PATH": "/builds"}


def explain(
    *, env_file: Path, directory: Path | None, config_path: Path, as_json: bool, output: Output
) -> int:
    """Print every condition of every rule for the job; 0 if it is admitted, 77 if not."""
    job = _job(env_file)
    read = catalogue(directory, config_path)
    policies = {policy.pipeline: policy for policy in read.policies}
    policy = policies.get(job.pipeline)
    decision = decide(job, policy, read.guardrails)
    reasons = _all(job, policy, decision)
    dropped = left_out(job.env, decision.grant) if isinstance(decision, Admitted) else {}
    if as_json:
        document = {
            **asdict(decision),
            "reasons": [asdict(reason) for reason in reasons],
            "left-out": dropped,
        }
        output(json.dumps(document, indent=2, default=str))
    else:
        _print(decision, reasons, output)
        for name, reason in dropped.items():
            output(f"{name} is left out of the job's environment: {reason}")
    return 0 if isinstance(decision, Admitted) else 77


def _job(path: Path) -> Job:
    """Read BUILDKITE_ENV_JSON_FILE or BUILDKITE_ENV_FILE, whichever form it has."""
    try:
        data = path.read_bytes()
    except OSError as unreadable:
        raise WrongConfiguration(
            f"{path} cannot be read: {unreadable.strerror}",
            hint='Name a file of a job\'s environment, as the agent writes it: NAME="value" '
            "lines, or one JSON object.",
        ) from unreadable
    parse = parse_json if data.lstrip().startswith(b"{") else parse_shell
    return assemble(parse(data), _AGENT)


def _all(job: Job, policy: Policy | None, decision: Decision) -> tuple[Reason, ...]:
    """Every rule's verdicts, also of those that were not tried any more; guardrails at the end."""
    tried = (
        verdict(rule.name, condition, job)
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
        output(f"  {mark}  {reason.subject:16} expected {reason.expected}, got {reason.got}")
    output("")
    if isinstance(decision, Admitted):
        role = decision.grant.role or "no role"
        output(f"admitted by rule {decision.rule!r} of {decision.policy_origin}, with {role}")
    else:
        output(f"refused: {decision.problem}\n{decision.hint}")
