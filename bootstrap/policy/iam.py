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
from bootstrap.policy.model import Policy, Rule

ACTIONS = ("sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity")
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


def iam(
    policies: Iterable[Policy], *, host_role: str, store: Mapping[str, Any] | None = None
) -> Iam:
    """Return the documents; `store` is the statement that reading the store needs, if any."""
    listed = tuple(policies)
    granting = _granting(listed)
    roles = sorted(granting)
    sessions = {
        "Sid": "AirlockSessions", "Effect": "Allow", "Action": list(ACTIONS), "Resource": roles,
    }  # fmt: skip
    return Iam(
        host_role=host_role,
        host=_document(
            *([sessions] if roles else []),
            *([{"Sid": "AirlockPolicies", **store}] if store else []),
            *_secrets(listed, partition=host_role.split(":")[1]),
        ),
        trust={role: _trust(host_role, granting[role]) for role in roles},
        scp=_scp(host_role, roles),
    )


def _secrets(policies: Iterable[Policy], *, partition: str) -> Iterable[Document]:
    """Return what reading the secrets of all rules needs, in whichever region the hosts are."""
    references = {r for p in policies for rule in p.rules for r in all_secrets(rule.allow)}
    for service, (sid, action) in _READING.items():
        names = sorted({r.split(":", 1)[1].split("#")[0] for r in references
                        if r.startswith(f"{service}:")})  # fmt: skip
        resources = [_arn(service, name, partition) for name in names]
        if resources:
            yield {"Sid": sid, "Effect": "Allow", "Action": [action], "Resource": resources}


def _arn(service: str, name: str, partition: str) -> str:
    """Secrets Manager ends the ARN of a name with six characters of its own."""
    if name.startswith("arn:"):
        return name
    kinds = {"ssm": f"parameter/{name.removeprefix('/')}", "secretsmanager": f"secret:{name}-*"}
    return f"arn:{partition}:{service}:*:*:{kinds[service]}"


def _granting(policies: Iterable[Policy]) -> dict[str, list[tuple[str, Rule]]]:
    """Map each granted role to the pipelines and rules that grant it."""
    granting: dict[str, list[tuple[str, Rule]]] = {}
    for policy in policies:
        for rule in policy.rules:
            roles = (rule.allow.role, *rule.allow.roles.values())
            for role in dict.fromkeys(role for role in roles if role):
                granting.setdefault(role, []).append((policy.pipeline, rule))
    return granting


def _trust(host_role: str, granting: list[tuple[str, Rule]]) -> Document:
    equal: dict[str, Any] = {PIPELINE: sorted({pipeline for pipeline, _ in granting})}
    like: dict[str, Any] = {}
    if external := {rule.allow.external_id for _, rule in granting} - {None}:
        equal["sts:ExternalId"] = sorted(filter(None, external))
    if all(rule.allow.source_identity for _, rule in granting):
        like["sts:SourceIdentity"] = "*"
    branches = [_branches(rule) for _, rule in granting]
    if all(branches):
        like[BRANCH] = sorted({branch for named in branches for branch in named})
    condition = {"StringEquals": equal, **({"StringLike": like} if like else {})}
    return _document(
        {
            "Sid": "AirlockSessions",
            "Effect": "Allow",
            "Principal": {"AWS": host_role},
            "Action": list(ACTIONS),
            "Condition": condition,
        }
    )


def _branches(rule: Rule) -> tuple[str, ...]:
    """Return the rule's branches, or nothing where IAM cannot say the same.

    `*` is the same in both; `?` and `$` are not, and IAM has no negation within a list.
    """
    for condition in rule.when:
        plain = all(re.fullmatch(r"[^!?$][^?$]*", pattern) for pattern in condition.patterns)
        if condition.subject == "branch" and plain:
            return condition.patterns
    return ()


def _scp(host_role: str, roles: list[str]) -> Document:
    """Nobody but the hosts assumes a job's role, and they not without saying for which pipeline."""
    if not roles:
        return _document()
    return _document(
        {
            "Sid": "AirlockHostsOnly",
            "Effect": "Deny",
            "Action": "sts:AssumeRole",
            "Resource": roles,
            "Condition": {"ArnNotEquals": {"aws:PrincipalArn": host_role}},
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
    (ours,) = wanted["Statement"]
    statements = _listed(trusted.get("Statement", []))
    allowing = [statement for statement in statements if statement.get("Effect") == "Allow"]
    granted = [s for s in allowing if ours["Principal"]["AWS"] in _principals(s)]
    missing = set(ACTIONS) - {a for s in granted for a in _listed(s.get("Action", []))}
    if missing:
        yield f"does not trust {ours['Principal']['AWS']} for {', '.join(sorted(missing))}"
    for statement in granted:
        if statement.get("Condition") != ours["Condition"]:
            said = json.dumps(statement.get("Condition", {}), sort_keys=True)
            yield f"trusts it under {said}, not {json.dumps(ours['Condition'], sort_keys=True)}"
    others = sorted({p for s in allowing for p in _principals(s)} - {ours["Principal"]["AWS"]})
    if others:
        yield f"also trusts {', '.join(others)}"


def _principals(statement: Mapping[str, Any]) -> list[str]:
    principal = statement.get("Principal", {})
    if isinstance(principal, str):
        return [principal]
    return [str(name) for names in principal.values() for name in _listed(names)]


def _listed(value: Any) -> list[Any]:  # noqa: ANN401 - IAM allows one or a list everywhere
    return value if isinstance(value, list) else [value]
