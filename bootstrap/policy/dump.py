"""From a Policy back to a document of the grammar, the shortest that means the same."""

from typing import Any

import yaml

from bootstrap.policy.model import (
    Condition,
    CredentialDelivery,
    Grant,
    Limits,
    Policy,
    Rule,
    Workspace,
)

_DEFAULT = Grant()


def dump(policy: Policy) -> str:
    """Return a document that `parse` reads as this policy."""
    return str(yaml.safe_dump(document(policy), sort_keys=False, allow_unicode=True, width=10_000))


def document(policy: Policy) -> dict[str, Any]:
    """Return the same as plain values."""
    return {
        "pipeline": policy.pipeline,
        "repository": list(policy.repositories),
        "rules": [_rule(rule) for rule in policy.rules],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    when: dict[str, Any] = {}
    for condition in rule.when:
        _add(when, condition)
    return {"name": rule.name, "when": when, "allow": _allow(rule.allow)}


def _add(when: dict[str, Any], condition: Condition) -> None:
    patterns = list(condition.patterns)
    if condition.name is not None:
        when.setdefault(condition.subject, {})[condition.name] = patterns
    elif condition.subject in {"pull-request", "commit-on-branch"}:
        when[condition.subject] = patterns[0]
    else:
        when[condition.subject] = patterns


def _allow(grant: Grant) -> dict[str, Any]:
    allow: dict[str, Any] = {
        "role": grant.role,
        "roles": dict(grant.roles),
        "session": _session(grant),
        "delivery": None if grant.delivery is CredentialDelivery.ENDPOINT else "env",
        "secrets-with": "role" if grant.secrets_with_role else None,
        "secrets": dict(grant.secrets),
        "secret-files": dict(grant.secret_files),
        "ssh-keys": list(grant.ssh_keys),
        "git-tokens": dict(grant.git_tokens),
        "registries": dict(grant.registries),
        "known-hosts": list(grant.known_hosts),
        "env": list(grant.env),
        "image": grant.image,
        "limits": _limits(grant.limits),
        "workspace": None if grant.workspace is Workspace.REUSE else "fresh",
    }
    return {key: value for key, value in allow.items() if value}


def _session(grant: Grant) -> dict[str, Any]:
    longer = grant.duration != _DEFAULT.duration
    session: dict[str, Any] = {
        "duration": f"{int(grant.duration.total_seconds())}s" if longer else None,
        "tags": dict(grant.tags),
        "transitive": list(grant.transitive_tags),
        "external-id": grant.external_id,
        "source-identity": None if grant.source_identity else "none",
        "policy": grant.session_policy,
        "policy-arns": list(grant.policy_arns),
        "via": grant.via,
        "identity": "buildkite" if grant.web_identity else None,
    }
    return {key: value for key, value in session.items() if value}


def _limits(limits: Limits) -> dict[str, str]:
    return {
        **({"memory": f"{limits.memory >> 20}MiB"} if limits.memory is not None else {}),
        **({"cpus": str(limits.cpus)} if limits.cpus is not None else {}),
        **({"pids": str(limits.pids)} if limits.pids is not None else {}),
    }
