"""How far each fact about a job can be trusted (docs/policy.md#what-a-condition-is-worth).

`lint` and guardrails ask here. A test holds the table of the documentation to these.
"""

from enum import StrEnum

from bootstrap.job.model import Fact, Known, KnownSet, Provenance


class Grade(StrEnum):
    """Who has to be honest for a fact to be true."""

    CLAIMED = "claimed"  # the author of a step, or the person who starts a build, can set it
    VOUCHED = "vouched"  # Buildkite sets it in every job, over whatever they set
    SIGNED = "signed"  # Buildkite's signature confirms it
    VERIFIED = "verified"  # this host asked the repository, or compares what the job then runs


# Not `creator`: people choose the name under which Buildkite shows them.
_VOUCHED = frozenset(
    {"organization", "pipeline", "branch", "commit", "source", "queue", "creator-email",
     "creator-team", "pull-request"}
)  # fmt: skip
_VERIFIED = frozenset({"commit-on-branch", "repository", "command", "plugin"})
# Not every token names the queue (job.claims.OPTIONAL), so `queue` is not among them.
_SIGNABLE = frozenset(
    {"organization", "pipeline", "branch", "tag", "commit", "source", "step", "agent-tag"}
)


def grade_of(subject: str, *, signed: bool = False) -> Grade:
    """Return the grade of the facts of a condition's subject, whatever the job.

    `signed` is whether the host takes claims from Buildkite's token (identity = "signed").
    """
    if subject in _VERIFIED:
        return Grade.VERIFIED
    if signed and subject in _SIGNABLE:
        return Grade.SIGNED
    return Grade.VOUCHED if subject in _VOUCHED else Grade.CLAIMED


def grade(subject: str, fact: Fact) -> Grade:
    """Return the grade of one fact of one job; of one that is absent or unvouched, the least."""
    if not isinstance(fact, Known | KnownSet):
        return Grade.CLAIMED
    match fact.provenance:
        case Provenance.SIGNED:
            return Grade.SIGNED
        case Provenance.HOST:
            return Grade.VERIFIED
        case _:
            return grade_of(subject)


def suffices(subject: str, found: Grade, demanded: Grade) -> bool:
    """Return whether a fact of grade `found` may decide where `demanded` is the least grade.

    Of what Buildkite never signs, such as a creator's team, its word is enough where signed facts
    are demanded: no host could ask for more. What it signs for nobody and does not vouch for either
    never suffices.
    """
    if demanded is Grade.CLAIMED or found is Grade.VERIFIED:
        return True
    if found is Grade.CLAIMED:
        return False
    return demanded is not Grade.SIGNED or found is Grade.SIGNED or subject not in _SIGNABLE
