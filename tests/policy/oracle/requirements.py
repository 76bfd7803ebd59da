"""What guardrails require of jobs that get a sensitive role or secret."""

from tests.job.given import plugins
from tests.policy.oracle.pairs import (
    ACCOUNT,
    GUARDRAIL,
    INVALID,
    OWN,
    TAG,
    Pair,
    named,
)

PROD = f"role: 'arn:aws:iam::{ACCOUNT}:role/prod-deploy'"
TEST = f"role: 'arn:aws:iam::{ACCOUNT}:role/test-deploy'"
ROLES = "roles: ['arn:aws:iam::*:role/prod-*']"
PRODUCTION = f"{{name: production, {ROLES}, branch: main, commit-on-branch: verified, signed: yes}}"
SIGNED = f"{{name: production, {ROLES}, signed: yes}}"
VOUCHED = f"{{name: production, {ROLES}, vouched: yes}}"
DOCKER = plugins("docker#v5.1.0")
LARGE = named(agent_meta_data_size="large")


def needs(
    requires: str,
    conditions: str,
    expected: str,
    because: str,
    env: dict[str, str] | None = None,
    *,
    allow: str = PROD,
    signed: bool = False,
    commit: str = "",
) -> Pair:
    """Return a pair of one requirement, a rule with this grant, and a job."""
    return Pair(
        rules=f"  - {{name: only, when: {conditions}, allow: {{{allow}}}}}\n"
        "  - {name: rest, when: {pull-request: any, tag: [none, '*']}, allow: {}}\n",
        guardrails=f"guardrails: acme\nrequires: [{requires}]\n",
        env=env or {}, expected=expected, because=because, signed=signed, commit=commit,
    )  # fmt: skip


DEMANDS = [
    needs(PRODUCTION, "{}", "only", "all of it", signed=True, commit="verified"),
    needs(PRODUCTION, "{branch: main}", "only", "all of it", signed=True, commit="verified"),
    needs(PRODUCTION, "{}", "only", "not a production role", allow=TEST),
    needs(PRODUCTION, "{}", GUARDRAIL, "not signed", commit="verified"),
    needs(PRODUCTION, "{}", GUARDRAIL, "elsewhere", signed=True, commit="elsewhere"),
    needs(PRODUCTION, "{}", GUARDRAIL, "nobody knows", signed=True, commit="unknown"),
    needs(PRODUCTION, "{}", GUARDRAIL, "not main", named(branch="dev"), signed=True,
          commit="verified"),
    needs(PRODUCTION, "{branch: '*'}", GUARDRAIL, "not main", named(branch="dev"), signed=True,
          commit="verified"),
    needs(PRODUCTION, "{branch: dev}", "rest", "this rule does not match", allow=PROD),
    needs(PRODUCTION, "{}", GUARDRAIL, "a profile", signed=False,
          allow=f"roles: {{p: 'arn:aws:iam::{ACCOUNT}:role/prod-x'}}"),
    needs(PRODUCTION, "{}", GUARDRAIL, "the first role of a second hop",
          allow=f"{TEST}, session: {{via: 'arn:aws:iam::{ACCOUNT}:role/prod-hop'}}"),
    needs(PRODUCTION, "{}", GUARDRAIL, "in another case",
          allow=f"role: 'arn:aws:iam::{ACCOUNT}:role/Prod-deploy'"),
    needs(PRODUCTION, "{pull-request: same-repository}", GUARDRAIL, "a pull request", OWN,
          signed=True, commit="verified"),
    needs(f"{{{ROLES}, pull-request: same-repository}}", "{pull-request: same-repository}", "only",
          "the requirement names pull requests", OWN),
    needs(f"{{{ROLES}, branch: main}}", "{tag: 'v*'}", GUARDRAIL, "a tag", TAG),
    needs(f"{{{ROLES}, tag: 'v*'}}", "{tag: 'v*'}", "only", "the requirement names tags", TAG),
    needs(f"{{{ROLES}, tag: 'v*'}}", "{}", GUARDRAIL, "not a tag"),
    needs(f"{{{ROLES}, creator-team: platform}}", "{}", "only", "started by the team"),
    needs(f"{{{ROLES}, creator-team: platform}}", "{}", GUARDRAIL, "by nobody knows whom",
          named(source="webhook")),
    needs("{secrets: 'ssm:/prod/*', branch: main}", "{}", GUARDRAIL, "a sensitive secret",
          named(branch="dev"), allow="secrets: {A: 'ssm:/prod/x'}"),
    needs("{secrets: 'ssm:/prod/*', branch: main}", "{}", GUARDRAIL, "a sensitive key",
          named(branch="dev"), allow="ssh-keys: ['ssm:/prod/x']"),
    needs("{secrets: 'ssm:/prod/*', branch: main}", "{}", "only", "another secret",
          named(branch="dev"), allow="secrets: {A: 'ssm:/test/x'}"),
    needs("{roles: ['*:role/prod-*', '!*:role/prod-read'], branch: main}", "{}", "only", "exempt",
          named(branch="dev"), allow=f"role: 'arn:aws:iam::{ACCOUNT}:role/prod-read'"),
    needs("{roles: ['*:role/prod-*', '!*:role/prod-read'], branch: main}", "{}", GUARDRAIL,
          "an exemption is for one spelling", named(branch="dev"),
          allow=f"role: 'arn:aws:iam::{ACCOUNT}:role/prod-Read'"),
    needs("{roles: ['*:role/{pipeline}-prod'], branch: main}", "{}", GUARDRAIL, "its own",
          named(branch="dev"), allow=f"role: 'arn:aws:iam::{ACCOUNT}:role/storefront-prod'"),
    needs(f"{PRODUCTION}, {{{ROLES}, queue: x}}", "{}", GUARDRAIL, "both have to hold",
          signed=True, commit="verified"),
    needs("{branch: main}", "{}", INVALID, "of which roles or secrets?"),
    needs(f"{{{ROLES}, signed: maybe}}", "{}", INVALID, "yes or no"),
    needs(f"{{{ROLES}, brnach: main}}", "{}", INVALID, "unknown keys are errors"),
    needs(f"{{{ROLES}, triggered-by: x}}", "{}", INVALID, "no condition anywhere"),
]  # fmt: skip

GRADES = [
    needs(VOUCHED, "{}", "only", "the rule rests on nothing that could be forged"),
    needs(VOUCHED, "{branch: main, source: ui, queue: deploy}", "only", "vouched"),
    needs(VOUCHED, "{creator-team: platform}", "only", "vouched"),
    needs(VOUCHED, "{pull-request: no}", "only", "vouched"),
    needs(VOUCHED, "{command: make deploy}", "only", "what is compared is what runs"),
    needs(VOUCHED, "{command: make deploy}", GUARDRAIL, "a plugin may run in its place", DOCKER),
    needs(VOUCHED, "{command: make deploy, plugin: 'docker#v5.*'}", "only", "the one that may",
          DOCKER),
    needs(f"{{{ROLES}, command: make deploy, vouched: yes}}", "{plugin: 'docker#v5.*'}", GUARDRAIL,
          "the requirement itself has to list plugins", DOCKER),
    needs(f"{{{ROLES}, command: make deploy, plugin: 'docker#v5.*', vouched: yes}}", "{}", "only",
          "the requirement lists it", DOCKER),
    needs(VOUCHED, "{command: make deploy}", GUARDRAIL, "the rule lets a variable change it",
          allow=f"{PROD}, env: BASH_ENV"),
    needs(VOUCHED, "{branch: main}", "only", "no condition on what runs",
          allow=f"{PROD}, env: BASH_ENV"),
    needs(VOUCHED, "{env: {MODE: live}}", GUARDRAIL, "the job's word", {"MODE": "live"}),
    needs(VOUCHED, "{env: {MODE: absent}}", GUARDRAIL, "the job's word"),
    needs(VOUCHED, "{agent-tag: {size: large}}", GUARDRAIL, "the job's word", LARGE),
    needs(VOUCHED, "{creator: Ada}", GUARDRAIL, "people can change their names"),
    needs(VOUCHED, "{creator-email: ada@example.com}", "only", "vouched"),
    needs(VOUCHED, "{step: deploy}", GUARDRAIL, "a step without a key can claim any"),
    needs(VOUCHED, "{author-team: platform}", GUARDRAIL, "an unverified address",
          named(source="webhook")),
    needs(f"{{{ROLES}, vouched: yes, tag: 'v*'}}", "{tag: 'v*'}", GUARDRAIL, "a step can set it",
          TAG),
    needs(f"{{{ROLES}, vouched: yes, tag: 'v*'}}", "{tag: 'v*'}", "only", "signed", TAG,
          signed=True),
    needs(f"{{{ROLES}, vouched: yes, tag: [none, 'v*']}}", "{}", "only",
          "that there is no tag cannot be forged"),
    needs(f"{{{ROLES}, vouched: yes, step: deploy}}", "{}", GUARDRAIL, "its demand is forgeable"),
    needs(f"{{{ROLES}, vouched: yes, step: deploy}}", "{}", "only", "signed", signed=True),
    needs(VOUCHED, "{env: {MODE: live}}", "only", "not a production role", {"MODE": "live"},
          allow=TEST),
    needs(SIGNED, "{}", GUARDRAIL, "the job's identity is not signed"),
    needs(SIGNED, "{}", "only", "signed", signed=True),
    needs(SIGNED, "{branch: main, source: ui, step: deploy}", "only", "signed", signed=True),
    needs(SIGNED, "{creator-team: platform}", "only",
          "vouched, and Buildkite signs it for nobody", signed=True),
    needs(SIGNED, "{env: {MODE: live}}", GUARDRAIL, "the job's word", {"MODE": "live"},
          signed=True),
    needs(SIGNED, "{author-team: platform}", GUARDRAIL, "an unverified address",
          named(source="webhook"), signed=True),
    needs(SIGNED, "{command: make deploy}", "only", "what is compared is what runs", signed=True),
    needs(SIGNED, "{commit-on-branch: verified}", "only", "this host", signed=True,
          commit="verified"),
    needs(SIGNED, "{commit-on-branch: verified-or-unknown}", GUARDRAIL, "nobody knows",
          signed=True, commit="unknown"),
]  # fmt: skip

ROWS = [*DEMANDS, *GRADES]
