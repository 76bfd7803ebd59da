"""The IAM side of policies: what the hosts' role needs, and whom other roles trust.

Airlock tags every session and names its job as source identity (credentials.plan), so a role's
trust policy can require its pipelines and branches even of stolen credentials of the hosts' role.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bootstrap.aws.iam import (
    ASSUME_ROLE,
    EXTERNAL_ID,
    LOGIN,
    PULL,
    READ_PARAMETERS,
    READ_SECRET,
    SESSION,
    SOURCE_IDENTITY,
    Tag,
    allow,
    trusting_buildkite,
)
from bootstrap.images import ecr_arn
from bootstrap.policy.model import Policy, Rule

PIPELINE, BRANCH = Tag.PIPELINE.condition, Tag.BRANCH.condition

_READING = {
    "ssm": ("AirlockParameters", READ_PARAMETERS),
    "secretsmanager": ("AirlockSecrets", READ_SECRET),
}

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Iam:
    """Everything that the policies of a store need. `hops` and `trust` are by role ARN."""

    host_role: str
    host: Document
    hops: Mapping[str, Document]  # what the roles of session.via need to assume others
    trust: Mapping[str, Document]
    scp: Document


@dataclass(frozen=True, kw_only=True, slots=True)
class _Hop:
    """One AssumeRole call. `caller` is a role's ARN; None: Buildkite's token makes the call."""

    role: str
    caller: str | None
    pipeline: str
    rule: Rule
    last: bool  # its session is the job's, so it has the rule's external id


def iam(
    policies: Iterable[Policy],
    *,
    host_role: str,
    organization: str | None = None,
    store: Mapping[str, Any] | None = None,
) -> Iam:
    """Return the documents; `store` is the statement that reading the store needs, if any.

    Without an `organization`, trust in Buildkite's tokens names a placeholder that no token has.
    """
    listed = tuple(policies)
    hops = [hop for policy in listed for rule in policy.rules
            for hop in _hops(policy.pipeline, rule, host_role)]  # fmt: skip
    roles = sorted({hop.role for hop in hops})
    return Iam(
        host_role=host_role,
        host=_document(
            *_sessions(hops, host_role),
            *([{"Sid": "AirlockPolicies", **store}] if store else []),
            *_secrets(listed, partition=host_role.split(":")[1]),
            *_pulls(listed, partition=host_role.split(":")[1]),
        ),
        hops={
            caller: _document(*_sessions(hops, caller))
            for caller in sorted({hop.caller for hop in hops if hop.caller} - {host_role})
        },
        trust={
            role: _trust([hop for hop in hops if hop.role == role], organization) for role in roles
        },
        scp=_scp(sorted({host_role, *(hop.caller for hop in hops if hop.caller)}), roles),
    )


def _hops(pipeline: str, rule: Rule, host_role: str) -> Iterable[_Hop]:
    """Return every AssumeRole that the rule leads to."""
    allow = rule.allow
    first = None if allow.web_identity else host_role
    roles = tuple(dict.fromkeys(allow.roles.values()))
    if roles and allow.via:
        yield _Hop(role=allow.via, caller=first, pipeline=pipeline, rule=rule, last=False)
    for role in roles:
        caller = allow.via or first
        yield _Hop(role=role, caller=caller, pipeline=pipeline, rule=rule, last=True)


def _sessions(hops: Iterable[_Hop], caller: str) -> Iterable[Document]:
    """Return what `caller` needs to make its hops."""
    roles = sorted({hop.role for hop in hops if hop.caller == caller})
    if roles:
        yield {"Sid": "AirlockSessions", **allow(list(SESSION), roles)}


def _secrets(policies: Iterable[Policy], *, partition: str) -> Iterable[Document]:
    """Return what reading the secrets of all rules needs, in any region."""
    rules = [rule for p in policies for rule in p.rules if not rule.allow.secrets_with_role]
    references = {reference for rule in rules for reference in rule.allow.references}
    for service, (sid, action) in _READING.items():
        names = sorted({r.split(":", 1)[1].split("#")[0] for r in references
                        if r.startswith(f"{service}:")})  # fmt: skip
        resources = [_arn(service, name, partition) for name in names]
        if resources:
            yield {"Sid": sid, **allow([action], resources)}


def _pulls(policies: Iterable[Policy], *, partition: str) -> Iterable[Document]:
    """Return what pulling the rules' images from ECR needs."""
    images = {rule.allow.image for policy in policies for rule in policy.rules} - {None}
    found = {ecr_arn(image, partition) for image in images if image}
    if repositories := sorted(arn for arn in found if arn):
        yield {"Sid": "AirlockRegistries", **allow([LOGIN], ["*"])}
        yield {"Sid": "AirlockImages", **allow(list(PULL), repositories)}


def _arn(service: str, name: str, partition: str) -> str:
    """Secrets Manager ends the ARN of a name with six characters of its own."""
    if name.startswith("arn:"):
        return name
    kinds = {"ssm": f"parameter/{name.removeprefix('/')}", "secretsmanager": f"secret:{name}-*"}
    return f"arn:{partition}:{service}:*:*:{kinds[service]}"


def _trust(hops: list[_Hop], organization: str | None) -> Document:
    by_caller = {caller: [hop for hop in hops if hop.caller == caller] for caller in
                 dict.fromkeys(hop.caller for hop in hops)}  # fmt: skip
    return _document(
        *(
            _trusting(caller, made)
            if caller
            else trusting_buildkite(made[0].role, _subjects(made, organization))
            for caller, made in by_caller.items()
        )
    )


def _trusting(caller: str, hops: list[_Hop]) -> Document:
    """Return the statement that trusts `caller` for the pipelines and branches of its hops."""
    rules = [hop.rule for hop in hops]
    equal: dict[str, Any] = {PIPELINE: sorted({hop.pipeline for hop in hops})}
    like: dict[str, Any] = {}
    if external := {hop.rule.allow.external_id for hop in hops if hop.last} - {None}:
        equal[EXTERNAL_ID] = sorted(filter(None, external))
    if all(rule.allow.source_identity for rule in rules):
        like[SOURCE_IDENTITY] = "*"
    branches = [_branches(rule) for rule in rules]
    if all(branches):
        like[BRANCH] = sorted({branch for named in branches for branch in named})
    return {
        "Sid": "AirlockSessions",
        "Effect": "Allow",
        "Principal": {"AWS": caller},
        "Action": list(SESSION),
        "Condition": {"StringEquals": equal, **({"StringLike": like} if like else {})},
    }


def _subjects(hops: list[_Hop], organization: str | None) -> list[str]:
    """Return token subjects that name the branch before anything that a job can choose."""
    named = organization or "NAME-IT-WITH---organization"
    return sorted(
        {
            f"organization:{named}:pipeline:{hop.pipeline}:{ref}"
            for hop in hops
            for ref in _refs(hop.rule)
        }
    )


def _refs(rule: Rule) -> tuple[str, ...]:
    return tuple(f"ref:refs/heads/{branch}:commit:*" for branch in _branches(rule)) or ("*",)


def _branches(rule: Rule) -> tuple[str, ...]:
    """Return the rule's branches, or nothing where IAM cannot express them.

    `*` means the same in both; `?` and `$` do not, and IAM has no negation within a list.
    """
    for condition in rule.when:
        plain = all(re.fullmatch(r"[^!?$][^?$]*", pattern) for pattern in condition.patterns)
        if condition.subject == "branch" and plain:
            return condition.patterns
    return ()


def _scp(callers: list[str], roles: list[str]) -> Document:
    """Let only `callers` assume a job's role, and only with a pipeline's session tag."""
    if not roles:
        return _document()
    return _document(
        {
            "Sid": "AirlockHostsOnly",
            "Effect": "Deny",
            "Action": ASSUME_ROLE,
            "Resource": roles,
            "Condition": {"ArnNotEquals": {"aws:PrincipalArn": callers}},
        },
        {
            "Sid": "AirlockTagged",
            "Effect": "Deny",
            "Action": ASSUME_ROLE,
            "Resource": roles,
            "Condition": {"Null": {PIPELINE: "true"}},
        },
    )


def _document(*statements: Mapping[str, Any]) -> Document:
    return {"Version": "2012-10-17", "Statement": [dict(statement) for statement in statements]}
