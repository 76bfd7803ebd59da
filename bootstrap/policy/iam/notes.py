"""What the trust policies cannot express, in sentences for whoever deploys them."""

from collections.abc import Iterable, Iterator

from bootstrap.policy.iam.calls import CHAINED, Call
from bootstrap.policy.iam.model import Trust
from bootstrap.policy.iam.quotas import SCPS_OF_A_TARGET
from bootstrap.policy.wording import length


def notes(
    calls: Iterable[Call], trust: Trust, organization: str | None, *, policies_of_control: int
) -> tuple[str, ...]:
    """Return a sentence for each thing that Airlock or STS decides in IAM's place."""
    listed = tuple(calls)
    found = [*_tokens(listed, organization), *_chained(listed), *_by_tag(listed, trust)]
    if policies_of_control > SCPS_OF_A_TARGET:
        found.append(
            f"There are {policies_of_control} service control policies, and AWS attaches at most "
            f"{SCPS_OF_A_TARGET} to an account, unit or root."
        )
    return tuple(dict.fromkeys(found))


def _tokens(calls: Iterable[Call], organization: str | None) -> Iterator[str]:
    for call in calls:
        if call.caller is None and organization is None:
            yield (
                f"{call.role} trusts no token, because the organization is not known: name it "
                "with --organization, or in the guardrails."
            )
        if call.caller is None and not call.is_last:
            yield (
                f"{call.role} trusts Buildkite's token, which a job can ask for without Airlock. "
                f"With its session every job of {call.pipeline} that the token's subject names can "
                "assume the roles that come after it, with the tags of any branch."
            )
        if call.caller is None and call.unread:
            yield (
                f"{call.role} trusts Buildkite's token, which a job can ask for without Airlock. "
                f"Rule {call.rule!r} of {call.pipeline} also has conditions on "
                f"{', '.join(call.unread)}, which the token's subject does not name: every job of "
                "these branches can have the role."
            )


def _chained(calls: Iterable[Call]) -> Iterator[str]:
    for call in calls:
        if call.caller and call.duration > CHAINED:
            yield (
                f"{call.role} allows sessions of {length(call.duration)} as rule {call.rule!r} of "
                f"{call.pipeline} asks. If the hosts' credentials are themselves a session of a "
                "role, STS issues an hour at a time, and Airlock renews it while the job runs."
            )


def _by_tag(calls: Iterable[Call], trust: Trust) -> Iterator[str]:
    if trust is Trust.TAGS and any(call.pipeline for call in calls):
        yield (
            "Trust policies name no pipeline but those of roles below pipelines/<slug>/. Which "
            "pipeline may have another role, and from which branch, is decided by Airlock's "
            "policies and guardrails; their permissions should use "
            "${aws:PrincipalTag/buildkite:pipeline}."
        )
