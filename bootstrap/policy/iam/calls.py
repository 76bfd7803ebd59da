"""Every AssumeRole call to which the rules of all policies lead."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from bootstrap.policy.iam.refs import Refs, refs_of, unread
from bootstrap.policy.model import Policy, Rule

CHAINED = timedelta(hours=1)  # the longest session of a role that another role's session assumes
SHORTEST = timedelta(minutes=15)  # what a first hop asks for


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One AssumeRole call. `caller` is a role's ARN; None: Buildkite's token makes the call."""

    role: str
    caller: str | None
    pipeline: str | None  # None: any, for the role of observed jobs
    rule: str
    refs: tuple[Refs, ...]  # which of the pipeline's builds; nothing: any
    duration: timedelta
    is_last: bool = True  # the job gets this session; else it makes the next call
    by_token: bool = False  # Buildkite's token makes the first call, which any job can do itself
    external_id: str | None = None
    source_identity: bool = True
    unread: tuple[str, ...] = ()  # conditions of the rule that no trust policy can name


def calls(policies: Iterable[Policy], host_role: str) -> Iterator[Call]:
    """Yield the calls of every rule that a job can reach."""
    for policy in policies:
        for position, rule in enumerate(policy.rules):
            earlier = policy.rules[:position]
            yield from (call for call in _of_rule(policy, rule, earlier, host_role) if call.refs)


def observed(role: str, host_role: str) -> Call:
    """Return the call for a job of observe mode that no rule admits."""
    return Call(
        role=role,
        caller=host_role,
        pipeline=None,
        rule="observe-role of airlock.toml",
        refs=(),
        duration=CHAINED,
    )


def _of_rule(
    policy: Policy, rule: Rule, earlier: tuple[Rule, ...], host_role: str
) -> Iterator[Call]:
    allow = rule.allow
    first = None if allow.web_identity else host_role
    roles = tuple(dict.fromkeys(allow.roles.values()))
    if roles and allow.via:
        yield _call(policy, rule, earlier, role=allow.via, caller=first, is_last=False)
    for role in roles:
        yield _call(policy, rule, earlier, role=role, caller=allow.via or first, is_last=True)


def _call(
    policy: Policy,
    rule: Rule,
    earlier: tuple[Rule, ...],
    *,
    role: str,
    caller: str | None,
    is_last: bool,
) -> Call:
    """The session of the last call is the job's, so it has the rule's external id and duration."""
    allow = rule.allow
    taking = [before for before in earlier if not _gives_same(before, rule, role)]
    duration = min(allow.duration, CHAINED) if allow.via else allow.duration
    return Call(
        role=role,
        caller=caller,
        pipeline=policy.pipeline,
        rule=rule.name,
        refs=refs_of(rule, taking),
        duration=duration if is_last else SHORTEST,
        is_last=is_last,
        by_token=allow.web_identity,
        external_id=allow.external_id if is_last else None,
        source_identity=allow.source_identity,
        unread=unread(rule),
    )


def _gives_same(before: Rule, rule: Rule, role: str) -> bool:
    """Return whether a job that the earlier rule admits gets the same role in the same way."""
    one, other = before.allow, rule.allow
    ways = [(each.via, each.web_identity, each.external_id, each.source_identity)
            for each in (one, other)]  # fmt: skip
    return role in {*one.roles.values(), one.via if one.roles else None} and ways[0] == ways[1]
