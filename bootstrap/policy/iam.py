"""The IAM side of policies: what the hosts' role needs, and whom each granted role may trust.

Airlock tags every session and names its job as source identity (credentials.plan), so a role can
insist on its pipelines and branches even if somebody else gets hold of the hosts' role.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from bootstrap.policy.guardrails import all_secrets
from bootstrap.policy.images import ecr_arn
from bootstrap.policy.model import Policy, Rule

ACTIONS = ("sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity")
WEB_IDENTITY = "sts:AssumeRoleWithWebIdentity"
ISSUER, AUDIENCE = "agent.buildkite.com", "sts.amazonaws.com"
PIPELINE, BRANCH = "aws:RequestTag/buildkite:pipeline", "aws:RequestTag/buildkite:branch"

_READING = {
    "ssm": ("AirlockParameters", "ssm:GetParameters"),
    "secretsmanager": ("AirlockSecrets", "secretsmanager:GetSecretValue"),
}

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Iam:
    """Everything that the policies of a store need. `trust` is by role ARN."""

    host_role: str
    host: Document
    trust: Mapping[str, Document]
    scp: Document


@dataclass(frozen=True, kw_only=True, slots=True)
class _Hop:
    """One way to a role: by whose call, and for which rule. `by` None: by Buildkite's token."""

    role: str
    by: str | None
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

    Without an `organization`, a role that trusts Buildkite's tokens trusts those of none.
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
        trust={
            role: _trust([hop for hop in hops if hop.role == role], organization) for role in roles
        },
        scp=_scp(sorted({host_role, *(hop.by for hop in hops if hop.by)}), roles),
    )


def _hops(pipeline: str, rule: Rule, host_role: str) -> Iterable[_Hop]:
    """Return every AssumeRole that the rule leads to."""
    allow = rule.allow
    first = None if allow.web_identity else host_role
    roles = tuple(dict.fromkeys(filter(None, (allow.role, *allow.roles.values()))))
    if roles and allow.via:
        yield _Hop(role=allow.via, by=first, pipeline=pipeline, rule=rule, last=False)
    for role in roles:
        by = allow.via or first
        yield _Hop(role=role, by=by, pipeline=pipeline, rule=rule, last=True)


def _sessions(hops: Iterable[_Hop], caller: str) -> Iterable[Document]:
    """Return what `caller` needs to make its hops."""
    roles = sorted({hop.role for hop in hops if hop.by == caller})
    if roles:
        yield {
            "Sid": "AirlockSessions",
            "Effect": "Allow",
            "Action": list(ACTIONS),
            "Resource": roles,
        }


def _secrets(policies: Iterable[Policy], *, partition: str) -> Iterable[Document]:
    """Return what reading the secrets of all rules needs, in whichever region the hosts are."""
    rules = [rule for p in policies for rule in p.rules if not rule.allow.secrets_with_role]
    references = {reference for rule in rules for reference in all_secrets(rule.allow)}
    for service, (sid, action) in _READING.items():
        names = sorted({r.split(":", 1)[1].split("#")[0] for r in references
                        if r.startswith(f"{service}:")})  # fmt: skip
        resources = [_arn(service, name, partition) for name in names]
        if resources:
            yield {"Sid": sid, "Effect": "Allow", "Action": [action], "Resource": resources}


def _pulls(policies: Iterable[Policy], *, partition: str) -> Iterable[Document]:
    """Return what pulling the rules' images from ECR needs."""
    images = {rule.allow.image for policy in policies for rule in policy.rules} - {None}
    found = {ecr_arn(image, partition) for image in images if image}
    if repositories := sorted(arn for arn in found if arn):
        login = ["ecr:GetAuthorizationToken"]
        yield {"Sid": "AirlockRegistries", "Effect": "Allow", "Action": login, "Resource": ["*"]}
        yield {
            "Sid": "AirlockImages",
            "Effect": "Allow",
            "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
            "Resource": repositories,
        }


def _arn(service: str, name: str, partition: str) -> str:
    """Secrets Manager ends the ARN of a name with six characters of its own."""
    if name.startswith("arn:"):
        return name
    kinds = {"ssm": f"parameter/{name.removeprefix('/')}", "secretsmanager": f"secret:{name}-*"}
    return f"arn:{partition}:{service}:*:*:{kinds[service]}"


def _trust(hops: list[_Hop], organization: str | None) -> Document:
    callers = dict.fromkeys(hop.by for hop in hops)
    return _document(
        *(
            _trusting(by, [hop for hop in hops if hop.by == by])
            if by
            else _trusting_buildkite([hop for hop in hops if not hop.by], organization)
            for by in callers
        )
    )


def _trusting(caller: str, hops: list[_Hop]) -> Document:
    """Trust a role for the pipelines and branches that get here with its help."""
    rules = [hop.rule for hop in hops]
    equal: dict[str, Any] = {PIPELINE: sorted({hop.pipeline for hop in hops})}
    like: dict[str, Any] = {}
    if external := {hop.rule.allow.external_id for hop in hops if hop.last} - {None}:
        equal["sts:ExternalId"] = sorted(filter(None, external))
    if all(rule.allow.source_identity for rule in rules):
        like["sts:SourceIdentity"] = "*"
    branches = [_branches(rule) for rule in rules]
    if all(branches):
        like[BRANCH] = sorted({branch for named in branches for branch in named})
    return {
        "Sid": "AirlockSessions",
        "Effect": "Allow",
        "Principal": {"AWS": caller},
        "Action": list(ACTIONS),
        "Condition": {"StringEquals": equal, **({"StringLike": like} if like else {})},
    }


def _trusting_buildkite(hops: list[_Hop], organization: str | None) -> Document:
    """Trust Buildkite's tokens. `sub` names the branch before anything that a job can choose."""
    _, partition, _, _, account, _ = hops[0].role.split(":", 5)
    named = organization or "NAME-IT-WITH---organization"
    subjects = {
        f"organization:{named}:pipeline:{hop.pipeline}:{ref}"
        for hop in hops
        for ref in _refs(hop.rule)
    }
    return {
        "Sid": "AirlockWebIdentity",
        "Effect": "Allow",
        "Principal": {"Federated": f"arn:{partition}:iam::{account}:oidc-provider/{ISSUER}"},
        "Action": [WEB_IDENTITY],
        "Condition": {
            "StringEquals": {f"{ISSUER}:aud": AUDIENCE},
            "StringLike": {f"{ISSUER}:sub": sorted(subjects)},
        },
    }


def _refs(rule: Rule) -> tuple[str, ...]:
    return tuple(f"ref:refs/heads/{branch}:commit:*" for branch in _branches(rule)) or ("*",)


def _branches(rule: Rule) -> tuple[str, ...]:
    """Return the rule's branches, or nothing where IAM cannot say the same.

    `*` is the same in both; `?` and `$` are not, and IAM has no negation within a list.
    """
    for condition in rule.when:
        plain = all(re.fullmatch(r"[^!?$][^?$]*", pattern) for pattern in condition.patterns)
        if condition.subject == "branch" and plain:
            return condition.patterns
    return ()


def _scp(callers: list[str], roles: list[str]) -> Document:
    """Nobody but these assumes a job's role, and they not without saying for which pipeline."""
    if not roles:
        return _document()
    return _document(
        {
            "Sid": "AirlockHostsOnly",
            "Effect": "Deny",
            "Action": "sts:AssumeRole",
            "Resource": roles,
            "Condition": {"ArnNotEquals": {"aws:PrincipalArn": callers}},
        },
        {
            "Sid": "AirlockTagged",
            "Effect": "Deny",
            "Action": "sts:AssumeRole",
            "Resource": roles,
            "Condition": {"Null": {PIPELINE: "true"}},
        },
    )


def _document(*statements: Mapping[str, Any]) -> Document:
    return {"Version": "2012-10-17", "Statement": [dict(statement) for statement in statements]}


def as_json(made: Iam) -> Document:
    """Return all documents by what they are for."""
    return {"host-role": made.host, "trust": dict(made.trust), "scp": made.scp}


def as_cloudformation(made: Iam) -> Document:
    """Return a template: the hosts' policy, and the roles with their trust and no permission yet.

    For one account; roles of other accounts belong into a stack there.
    """
    resources: Document = {
        "AirlockHostPolicy": {
            "Type": "AWS::IAM::Policy",
            "Properties": {
                "PolicyName": "airlock",
                "Roles": [_parts(made.host_role)[1]],
                "PolicyDocument": made.host,
            },
        }
    }
    for role, trust in made.trust.items():
        path, name = _parts(role)
        resources[_logical(role)] = {
            "Type": "AWS::IAM::Role",
            "Properties": {"RoleName": name, "Path": path, "AssumeRolePolicyDocument": trust},
        }
    return {"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}


def as_terraform(made: Iam) -> Document:
    """Return the same in Terraform's JSON syntax, for a file named *.tf.json."""
    roles = {
        _logical(role): {
            "name": _parts(role)[1],
            "path": _parts(role)[0],
            "assume_role_policy": json.dumps(trust),
        }
        for role, trust in made.trust.items()
    }
    host = {"name": "airlock", "role": _parts(made.host_role)[1], "policy": json.dumps(made.host)}
    return {"resource": {"aws_iam_role_policy": {"airlock": host}, "aws_iam_role": roles}}


def _parts(role: str) -> tuple[str, str]:
    """Return path and name of a role's ARN."""
    path, _, name = role.partition(":role/")[2].rpartition("/")
    return f"/{path}/" if path else "/", name


def _logical(role: str) -> str:
    """Return a name that templates allow; the account keeps roles of one name apart."""
    words = re.findall(r"[A-Za-z0-9]+", role.partition(":role/")[2])
    return "".join(word.capitalize() for word in words) + role.split(":")[4]


def drift(made: Iam, dump: Mapping[str, Any]) -> tuple[str, ...]:
    """Compare with what `aws iam get-account-authorization-details` says; nothing: no drift."""
    real = {role["Arn"]: role for role in dump.get("RoleDetailList", [])}
    found: list[str] = []
    for role, wanted in made.trust.items():
        if role not in real:
            found.append(f"{role}: is not in the dump")
            continue
        found += [f"{role}: {what}" for what in _trust_drift(wanted, real[role])]
    return tuple(found)


def _trust_drift(wanted: Document, role: Mapping[str, Any]) -> Iterable[str]:
    trusted = role.get("AssumeRolePolicyDocument", {})
    if isinstance(trusted, str):
        trusted = json.loads(unquote(trusted))
    statements = _listed(trusted.get("Statement", []))
    allowing = [statement for statement in statements if statement.get("Effect") == "Allow"]
    ours = {principal: s for s in wanted["Statement"] for principal in _principals(s)}
    for principal, statement in ours.items():
        yield from _principal_drift(principal, statement, allowing)
    others = sorted({p for s in allowing for p in _principals(s)} - set(ours))
    if others:
        yield f"also trusts {', '.join(others)}"


def _principal_drift(principal: str, ours: Document, allowing: list[Any]) -> Iterable[str]:
    granted = [s for s in allowing if principal in _principals(s)]
    missing = set(ours["Action"]) - {a for s in granted for a in _listed(s.get("Action", []))}
    if missing:
        yield f"does not trust {principal} for {', '.join(sorted(missing))}"
    for statement in granted:
        if statement.get("Condition") != ours["Condition"]:
            said = json.dumps(statement.get("Condition", {}), sort_keys=True)
            yield f"trusts it under {said}, not {json.dumps(ours['Condition'], sort_keys=True)}"


def _principals(statement: Mapping[str, Any]) -> list[str]:
    principal = statement.get("Principal", {})
    if isinstance(principal, str):
        return [principal]
    return [str(name) for names in principal.values() for name in _listed(names)]


def _listed(value: Any) -> list[Any]:  # noqa: ANN401 - IAM allows one or a list everywhere
    return value if isinstance(value, list) else [value]
