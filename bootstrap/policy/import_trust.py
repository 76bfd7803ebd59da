"""Proposals from the trust policies of roles that Buildkite's OIDC tokens can assume.

A token's subject is `organization:ORG:pipeline:SLUG:ref:REF:commit:SHA:step:KEY`
(docs/aws.md has what AWS compares it with).
"""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from bootstrap.policy.proposals import TO_COMPLETE, Found, Proposal, ProposedRule
from bootstrap.text import printable

_PROVIDER = ":oidc-provider/agent.buildkite.com"
_SUBJECT = "agent.buildkite.com:sub"
_AUDIENCE = "agent.buildkite.com:aud"
_ACTION = "sts:assumerolewithwebidentity"
_PARTS = re.compile(
    r"organization:(?P<organization>[^:]+):pipeline:(?P<pipeline>[^:]+)"
    r"(?::ref:(?P<ref>.+?))?(?::commit:(?P<commit>[^:]+))?(?::step:(?P<step>[^:]*))?(?P<rest>:\*)?"
)
_BYPASS = (
    "Until this role trusts only the hosts' role, every job of these builds can assume it with "
    "its token, whatever the policy says: see `airlock policy iam`."
)


def found(text: str) -> Found:
    """Return proposals for every role of the file. Raises ValueError if it lists no role."""
    proposals: list[Proposal] = []
    skipped: list[str] = []
    for arn, trust in _roles(text):
        for statement in _statements(trust):
            for one in _of_statement(arn, statement):
                if isinstance(one, str):
                    skipped.append(one)
                else:
                    proposals.append(one)
    return Found(proposals=tuple(proposals), skipped=tuple(map(printable, skipped)))


def _roles(text: str) -> Iterator[tuple[str, Any]]:
    """Yield ARN and trust policy of get-role, list-roles or get-account-authorization-details."""
    expected = "expected the output of `aws iam get-role` or `list-roles`"
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"{expected}, which is JSON") from None
    listed: dict[str, Any] = content if isinstance(content, dict) else {}
    keys = (key for key in ("Role", "Roles", "RoleDetailList") if key in listed)
    each = _listed(listed.get(next(keys, "")))
    if not each or not all(isinstance(role, dict) and "Arn" in role for role in each):
        raise ValueError(f"{expected}: roles, each with Arn and AssumeRolePolicyDocument")
    for role in each:
        yield str(role["Arn"]), role.get("AssumeRolePolicyDocument")


def _statements(trust: object) -> Iterator[dict[str, Any]]:
    """Yield what allows Buildkite's tokens. IAM's own API returns the document URL-encoded."""
    if isinstance(trust, str):
        try:
            trust = json.loads(unquote(trust))
        except (ValueError, RecursionError):
            return
    listed = _listed(trust.get("Statement")) if isinstance(trust, dict) else []
    for one in listed:
        if isinstance(one, dict) and one.get("Effect") == "Allow" and _is_buildkites(one):
            yield one


def _is_buildkites(statement: dict[str, Any]) -> bool:
    principal = statement.get("Principal")
    federated = _listed(principal.get("Federated")) if isinstance(principal, dict) else []
    actions = [str(action).lower() for action in _listed(statement.get("Action"))]
    return any(str(one).endswith(_PROVIDER) for one in federated) and any(
        action in (_ACTION, "sts:*", "*") for action in actions
    )


def _listed(value: object) -> list[Any]:
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def _of_statement(arn: str, statement: dict[str, Any]) -> Iterator[Proposal | str]:
    conditions = statement.get("Condition")
    subjects, notes = _conditions(conditions if isinstance(conditions, dict) else {})
    if not subjects:
        yield f"{arn}: its trust policy does not limit {_SUBJECT}; any pipeline can assume it"
    for subject, is_pattern in subjects:
        parts = _PARTS.fullmatch(subject)
        if parts is None or "*" in parts["organization"] + parts["pipeline"]:
            yield f"{arn}: no single pipeline is known from the subject {subject!r}"
        elif "?" in subject or (not is_pattern and "*" in subject):
            yield f"{arn}: the subject {subject!r} has wildcards that cannot be translated"
        else:
            yield _proposal(arn, parts, notes)


def _conditions(found: dict[str, Any]) -> tuple[list[tuple[str, bool]], tuple[str, ...]]:
    """Return the subjects, each with whether it is a pattern, and what is not translated."""
    subjects, notes = [], []
    for operator, compared in found.items():
        for key, values in compared.items() if isinstance(compared, dict) else ():
            if key.lower() == _SUBJECT and operator in ("StringEquals", "StringLike"):
                subjects += [(str(one), operator == "StringLike") for one in _listed(values)]
            elif key.lower() != _AUDIENCE:
                shown = json.dumps({operator: {key: values}})
                notes.append(f"Not known: what this condition means for a policy: {shown}")
    return subjects, tuple(notes)


def _proposal(arn: str, parts: re.Match[str], notes: tuple[str, ...]) -> Proposal:
    when: dict[str, Any] = {"organization": parts["organization"]}
    where = "every branch"
    ref = parts["ref"] or "*"
    if ref.startswith("refs/tags/"):
        when["tag"] = ref.removeprefix("refs/tags/")
        where = f"tag {when['tag']}"
    elif ref.startswith("refs/heads/"):
        when["branch"] = ref.removeprefix("refs/heads/")
        where = f"branch {when['branch']}"
    elif ref == "*":
        notes = (
            *notes,
            "The token's ref is not limited; that would be tags and pull requests too.",
        )
    else:
        when["branch"] = TO_COMPLETE
        notes = (*notes, f"Not known: what the ref {ref} means for a policy.")
    for key in ("commit", "step"):
        if parts[key] and parts[key] != "*":
            when[key] = parts[key]
    rule = ProposedRule(
        name=f"{arn.rsplit('/', 1)[-1]} for {where}",
        when=when,
        allow={"role": arn, "session": {"identity": "buildkite"}},
        notes=(*notes, _BYPASS),
    )
    return Proposal(pipeline=parts["pipeline"], rules=(rule,))
