"""Roles, a rule and a policy for tests of what is asked of all policies at once."""

from tests.policy.given import policy

ROLE = "arn:aws:iam::111122223333:role/ci/deploy"
OTHER = "arn:aws:iam::444455556666:role/ci/read"
HOST = "arn:aws:iam::999988887777:role/buildkite-agents"


def rule(name: str, when: str, role: str = ROLE) -> str:
    return f"  - {{name: {name}, when: {{{when}}}, allow: {{role: '{role}'}}}}\n"


MAIN = policy(rule("deploy", "branch: [main, 'release/*'], creator-team: platform"))
SECRETS = policy(
    "  - name: a\n    when: {branch: main}\n    allow:\n"
    "      secrets: {A: 'ssm:/ci/a', B: 'secretsmanager:ci/b#key'}\n"
    "      secret-files: {c: 'secretsmanager:ci/b#other'}\n"
    "      ssh-keys: 'ssm:/ci/key'\n"
)
