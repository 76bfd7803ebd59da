"""The form of a pair, and the expectations that are not the name of a rule."""

from dataclasses import dataclass, field

# No rule admits the job.
REFUSED = "refused"
# A rule admits it, and a guardrail refuses that rule.
GUARDRAIL = "refused by a guardrail"
# The document itself is wrong.
INVALID = "invalid"

ACCOUNT = "111122223333"
DEPLOY = f"arn:aws:iam::{ACCOUNT}:role/ci/storefront-deploy"
OWN: dict[str, str] = {
    "BUILDKITE_PULL_REQUEST": "7",
    "BUILDKITE_PULL_REQUEST_REPO": "git://github.com/acme/storefront.git",
}
FORK: dict[str, str] = {
    "BUILDKITE_PULL_REQUEST": "7",
    "BUILDKITE_PULL_REQUEST_REPO": "git://github.com/mallory/storefront.git",
}
TAG: dict[str, str] = {"BUILDKITE_BRANCH": "v1", "BUILDKITE_TAG": "v1"}


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A policy with or without guardrails, a job, and the decision that the documentation says."""

    rules: str
    expected: str
    because: str
    env: dict[str, str] = field(default_factory=dict)
    guardrails: str = ""
    repositories: str = "git@github.com:acme/storefront.git"
    pipeline: str = "storefront"
    signed: bool = False
    commit: str = ""


def when(conditions: str, env: dict[str, str], expected: str, because: str) -> Pair:
    """Return a pair of a rule without grants, named `only`, and a job."""
    rules = f"  - {{name: only, when: {conditions}, allow: {{}}}}\n"
    return Pair(rules=rules, env=env, expected=expected, because=because)


def named(**values: str) -> dict[str, str]:
    """Return Buildkite's variables of these names."""
    return {f"BUILDKITE_{name.upper()}": value for name, value in values.items()}
