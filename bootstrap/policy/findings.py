"""What `airlock policy lint` finds: each finding with its place and its fix."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from bootstrap.policy.model import Policy

# Every finding -> what it is about. docs/governance.md#findings lists the same.
MEANINGS: Mapping[str, str] = {
    "absent-from-repository": "a condition names a repository that the policy does not",
    "any-branch-reaches-production": "every branch gets a role that is named like production",
    "author-never-holds": "author-team with sources whose builds have no author",
    "audience-of-roles": "jobs may request the tokens by which roles are assumed",
    "beyond-guardrail": "the rule grants more than the guardrails allow",
    "condition-on-left-out-variable": "a condition on a variable that the job does not get",
    "contradiction": "no build fulfils two conditions, or two patterns of one, at once",
    "creator-never-holds": "creator, creator-email or creator-team without source ui or api",
    "egress-lacks-grant": "a list of what jobs reach lacks hosts for which the rule has a grant",
    "egress-lacks-repository": "a list of what jobs reach lacks the host of their repository",
    "egress-observed": "mode: observe limits nothing that jobs reach",
    "egress-open-wildcard": "jobs reach all names of a domain in which anyone can have one",
    "egress-wide-network": "jobs reach a very large public network",
    "fork-reaches-builds": "anyone who opens a pull request builds images",
    "fork-reaches-grant": "anyone who opens a pull request gets a role or secret",
    "guardrails-not-used": "a guardrails document that airlock.toml does not name",
    "hidden-characters": "a pattern has characters that are invisible or change its appearance",
    "image-without-digest": "whoever can push the image can replace it",
    "misnamed": "the file is not named after the pipeline in it",
    "mistake": "the host refuses the document",
    "names-of-another-pipeline": "a guardrail's pattern admits what is another pipeline's",
    "not-a-ref": "a branch or tag that git does not allow",
    "not-read": "policies in a directory below the store's",
    "only-the-jobs-word": "a step can state everything on which the grant depends",
    "other-organization": "a condition on an organization that is not the guardrails'",
    "pipeline-twice": "several documents describe one pipeline",
    "plugin-without-version": "matches only plugins without a version",
    "plugins-beside-the-command": "a rule for one command lets any plugin run beside it",
    "pull-request-reaches-grant": "a pull request gets what other rules keep for fewer builds",
    "ref-prefix": "refs/heads/ or refs/tags/ in a pattern: Buildkite sends names without it",
    "regular-expression": "a pattern that reads as a regular expression, and is a glob",
    "requirement-needs-signed": "guardrails demand facts that only signed identity vouches for",
    "requirement-never-met": "no job of the rule has what guardrails require for its grant",
    "role-assumes-others": "a job gets a role by way of which others are assumed",
    "secret-in-service": "a variable of a service container looks like a secret",
    "secret-changes-what-runs": "a secret in a variable that loaders, shells or languages obey",
    "secret-hides-role": "a secret in a variable that SDKs prefer to the job's role",
    "session-longer-than-an-hour": "STS gives sessions by role chaining an hour at most",
    "session-near-packed-limit": "session policy, ARNs and tags may exceed STS's packed size",
    "session-tag": "STS does not accept a session tag",
    "tag-beside-commit-check": "commit-on-branch for builds of tags",
    "unblocker-never-holds": "a condition on unblocker-team",
    "unknown-commit-reaches-grant": "a grant even if the commit could not be checked",
    "unknown-source": "a source that Buildkite does not have",
    "unreachable": "a rule above admits all of this rule's jobs",
    "unused-ignore": "a comment about a finding that is not there",
    "variables-change-what-runs": "allow.env beside a condition on what runs",
    "wrong-ignore": "a comment about a finding without reason, or with an unknown id",
}
# No comment answers these. A host refuses jobs for most: not to see them would be to believe in a
# policy that is not read. And no team may answer for what its jobs can take of others.
ALWAYS = frozenset({"mistake", "misnamed", "role-assumes-others", "wrong-ignore"})


class Severity(StrEnum):
    """Errors make `airlock policy lint` fail and `push` refuse; warnings need judgement."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing to fix. `id` is stable, for `--ignore` and comments."""

    id: str
    severity: Severity
    origin: str
    line: int
    text: str
    fix: str


def error(identifier: str, policy: Policy, line: int, text: str, fix: str) -> Finding:
    """Return a finding that fails lint, in a policy's document."""
    return Finding(
        id=identifier,
        severity=Severity.ERROR,
        origin=policy.origin,
        line=line,
        text=text,
        fix=fix,
    )


def warning(identifier: str, policy: Policy, line: int, text: str, fix: str) -> Finding:
    """Return a finding that needs a person's judgement and does not fail lint."""
    return replace(error(identifier, policy, line, text, fix), severity=Severity.WARNING)
