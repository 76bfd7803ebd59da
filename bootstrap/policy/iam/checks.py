"""What IAM would refuse when the documents are deployed, or would give to the wrong job."""

from collections.abc import Sequence

from bootstrap.errors import WrongConfiguration
from bootstrap.policy.iam.calls import Call
from bootstrap.policy.iam.model import Trust, account_of, partition_of, parts
from bootstrap.policy.iam.quotas import NAME
from bootstrap.policy.iam.trust import owner_of


def check(calls: Sequence[Call], trust: Trust, host_role: str) -> None:
    """Raise WrongConfiguration with every mistake in the names of roles, and in who gets them."""
    found = [
        *_names(calls), *_twice(calls), *_partitions(calls, host_role),
        *_handed_out(calls, host_role), *_shared_hops(calls),
    ]  # fmt: skip
    if trust is Trust.TAGS:
        found += _of_others(calls)
    if found:
        raise WrongConfiguration(
            f"{len(found)} roles cannot be deployed" if len(found) > 1 else found[0],
            hint="Correct the roles that rules name, or their accounts. A role of session.via is "
            "for nothing else, and with identity: buildkite for one pipeline.",
            details=tuple(found) if len(found) > 1 else (),
        )


def _names(calls: Sequence[Call]) -> list[str]:
    roles = {call.role: call for call in calls}
    return [
        f"{role}, which {_who(call)} names, has a name of "
        f"{len(parts(role)[1])} characters; IAM allows 1 to {NAME}"
        for role, call in sorted(roles.items())
        if not 1 <= len(parts(role)[1]) <= NAME
    ]


def _twice(calls: Sequence[Call]) -> list[str]:
    """A role's name is unique in its account, whatever its path and its capitals."""
    seen: dict[tuple[str, str], str] = {}
    found = []
    for role in sorted({call.role for call in calls}):
        key = (account_of(role), parts(role)[1].lower())
        if key in seen:
            found.append(f"{seen[key]} and {role} have the same name in one account")
        seen.setdefault(key, role)
    return found


def _partitions(calls: Sequence[Call], host_role: str) -> list[str]:
    ours = partition_of(host_role)
    return [
        f"{role} is of the partition {partition_of(role)}, and the hosts' role of {ours}: STS "
        "issues sessions within one partition alone"
        for role in sorted({call.role for call in calls})
        if partition_of(role) != ours
    ]


def _handed_out(calls: Sequence[Call], host_role: str) -> list[str]:
    """A job with the session of a role that assumes others could send any session tags."""
    callers = {host_role, *(call.caller for call in calls)}
    return sorted(
        {
            f"{_who(call)} gives jobs {call.role}, which may assume the roles of other jobs, "
            "with any session tags"
            for call in calls
            if call.role == host_role or (call.is_last and call.role in callers)
        }
    )


def _shared_hops(calls: Sequence[Call]) -> list[str]:
    """Any job can assume what Buildkite's token assumes, and then send any session tags."""
    found = []
    for hop in sorted({call.role for call in calls if call.caller is None and not call.is_last}):
        pipelines = sorted({c.pipeline for c in calls if c.pipeline and hop in {c.role, c.caller}})
        if len(pipelines) > 1:
            found.append(
                f"{hop} is assumed with Buildkite's token, as any job can do itself, and it "
                f"assumes roles of {', '.join(pipelines)}: each could take those of the others"
            )
    return found


def _who(call: Call) -> str:
    return f"rule {call.rule!r} of {call.pipeline}" if call.pipeline else call.rule


def _of_others(calls: Sequence[Call]) -> list[str]:
    return sorted(
        {
            f"rule {call.rule!r} of {call.pipeline} names {call.role}, which is by its path the "
            f"own role of {owner_of(call.role)}"
            for call in calls
            if call.pipeline and owner_of(call.role) not in {None, call.pipeline}
        }
    )
