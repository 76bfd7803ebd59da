"""The checks of what one rule grants: what STS refuses, and secrets that change what runs."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta

from bootstrap.aws import session_tags
from bootstrap.aws.iam import Tag
from bootstrap.grants.kind import DEFAULT
from bootstrap.policy.findings import Finding, error, warning
from bootstrap.policy.model import CredentialDelivery, Grant, Policy, Rule
from bootstrap.policy.spelling import folded
from bootstrap.policy.steering import changes
from bootstrap.policy.wording import length

_HOUR = timedelta(hours=1)
# Characters of a session's policy, ARNs and tags, which STS packs into a size that it documents
# nowhere. Of Airlock's own tags each is taken to have 64.
_PACKED = 2048
_OWN = sum(len(tag) for tag in Tag) + 64 * len(Tag)

_STS = re.compile(r"\bsts\.|amazonaws", re.IGNORECASE)
_INSTEAD_OF_ROLE = frozenset(
    {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE",
     "AWS_DEFAULT_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE",
     "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"}
)  # fmt: skip


def _session_tags(policy: Policy, rule: Rule) -> Iterator[Finding]:
    for problem in session_tags.wrong(rule.allow.tags) if rule.allow.roles else ():
        yield error(
            "session-tag", policy, rule.line,
            f"rule {rule.name!r}: {problem}",
            "Correct allow.session.tags: jobs of this rule would end with 78.",
        )  # fmt: skip


def _longer_than_an_hour(policy: Policy, rule: Rule) -> Iterator[Finding]:
    grant = rule.allow
    if not grant.roles or grant.duration <= _HOUR:
        return
    if grant.via:
        yield error(
            "session-longer-than-an-hour", policy, rule.line,
            f"rule {rule.name!r} asks for {length(grant.duration)} through {grant.via}, and STS "
            "gives a role that another role assumes an hour at most",
            "Write 1h: sessions are renewed while the job runs. Or leave out `via`.",
        )  # fmt: skip
    elif grant.delivery is CredentialDelivery.ENV and not grant.web_identity:
        yield warning(
            "session-longer-than-an-hour", policy, rule.line,
            f"rule {rule.name!r} delivers a session of {length(grant.duration)} in variables, "
            "which are not renewed, and STS gives a host with an instance role an hour at most",
            "Write `identity: buildkite`, which is no role chaining, or deliver by the endpoint.",
        )  # fmt: skip


def _near_packed_limit(policy: Policy, rule: Rule) -> Iterator[Finding]:
    size = _characters(rule.allow)
    if rule.allow.roles and size > _PACKED:
        yield warning(
            "session-near-packed-limit", policy, rule.line,
            f"rule {rule.name!r}: session policy, its ARNs and tags have up to {size} characters, "
            "and STS refuses what it cannot pack; its limit is documented nowhere",
            f"Stay below {_PACKED}, or try one session: an error names the share, as in 112 %.",
        )  # fmt: skip


def _characters(grant: Grant) -> int:
    policy = re.sub(r"\s+", "", grant.session_policy or "")
    tags = sum(len(key) + len(value) for key, value in grant.tags.items())
    return len(policy) + sum(map(len, grant.policy_arns)) + tags + _OWN


def _secret_names(policy: Policy, rule: Rule) -> Iterator[Finding]:
    for kind in rule.allow.kinds:
        for name in kind.variables():
            if reason := changes(name):
                yield error(
                    "secret-changes-what-runs", policy, rule.line,
                    f"rule {rule.name!r} puts a secret into {name}: {reason}",
                    "Give it another name, and have the command pass it on.",
                )  # fmt: skip
            elif name in _INSTEAD_OF_ROLE and DEFAULT in rule.allow.roles:
                yield warning(
                    "secret-hides-role", policy, rule.line,
                    f"rule {rule.name!r} puts a secret into {name}, which SDKs prefer to its role",
                    "Remove one of the two.",
                )  # fmt: skip


def _audiences(policy: Policy, rule: Rule) -> Iterator[Finding]:
    """A role's trust policy decides about such a token, and no rule does."""
    for audience in rule.allow.audiences:
        if _STS.search(audience):
            yield warning(
                "audience-of-roles", policy, rule.line,
                f"rule {rule.name!r} lets jobs request tokens for {audience!r}: with these they "
                "assume every role that trusts Buildkite's tokens of this pipeline, also roles "
                "that no rule grants",
                "Grant the role itself (`role`, with `session: {identity: buildkite}` if it trusts "
                "nothing but such tokens), and remove the audience.",
            )  # fmt: skip


def assumes_others(policy: Policy, rule: Rule, hops: frozenset[str]) -> Iterator[Finding]:
    """Yield each role of the rule's jobs that is also the first of somebody's second hop.

    `hops` are `folded`: IAM has no two roles whose names differ only in case.
    """
    for role in sorted(one for one in {*rule.allow.roles.values()} if folded(one) in hops):
        yield error(
            "role-assumes-others", policy, rule.line,
            f"rule {rule.name!r} gives jobs {role}, by way of which rules assume other roles "
            "(session.via): a job could assume those too, with the session tags of any pipeline",
            "Give the job another role, or let these rules use one that no job gets.",
        )  # fmt: skip


CHECKS: tuple[Callable[[Policy, Rule], Iterator[Finding]], ...] = (
    _session_tags,
    _longer_than_an_hour,
    _near_packed_limit,
    _secret_names,
    _audiences,
)
