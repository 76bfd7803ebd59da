"""Guardrails that limit what a rule may grant, for all pipelines, for some, and for forks."""

from tests.job.given import plugins
from tests.policy.oracle.pairs import (
    ACCOUNT,
    DEPLOY,
    FORK,
    GUARDRAIL,
    INVALID,
    OWN,
    Pair,
)

DIGEST = f"@sha256:{'0' * 64}"
CI = "roles: ['arn:aws:iam::*:role/ci/*', '!*:role/ci/break-glass']"


def role(name: str, account: str = ACCOUNT) -> str:
    return f"role: 'arn:aws:iam::{account}:role/{name}'"


def granted(
    limits: str | None,
    allow: str,
    expected: str,
    because: str,
    env: dict[str, str] | None = None,
    *,
    pipeline: str = "storefront",
) -> Pair:
    """Return a pair of guardrails (None for no document) and a rule for every build."""
    rules = f"  - {{name: only, when: {{pull-request: any}}, allow: {{{allow}}}}}\n"
    document = "" if limits is None else f"guardrails: acme\n{limits}\n"
    return Pair(
        rules=rules, guardrails=document, env=env or {}, expected=expected, because=because,
        pipeline=pipeline,
    )  # fmt: skip


ROLES = [
    granted(CI, f"role: '{DEPLOY}'", "only", "below ci"),
    granted(CI, role("admin"), GUARDRAIL, "not below ci"),
    granted(CI, role("ci/break-glass"), GUARDRAIL, "excluded"),
    granted(CI, role("ci/Break-Glass"), GUARDRAIL, "IAM's names are the same in every case"),
    granted(CI, f"roles: {{x: 'arn:aws:iam::{ACCOUNT}:role/admin'}}", GUARDRAIL, "profiles too"),
    granted(CI, f"role: '{DEPLOY}', session: {{via: 'arn:aws:iam::{ACCOUNT}:role/hop'}}", GUARDRAIL,
            "the first role of a second hop too"),
    granted(CI, "workspace: fresh", "only", "no role is granted"),
    granted("roles: []", f"role: '{DEPLOY}'", GUARDRAIL, "an empty list allows nothing"),
    granted("roles: []", "workspace: fresh", "only", "no role is granted"),
    granted("session: 4h", f"role: '{DEPLOY}'", "only", "a key that is left out limits nothing"),
    granted(f"accounts: ['{ACCOUNT}']", f"role: '{DEPLOY}'", "only", "the account"),
    granted(f"accounts: ['{ACCOUNT}']", role("ci/x", "444455556666"), GUARDRAIL, "another one"),
    granted("accounts: []", f"role: '{DEPLOY}'", GUARDRAIL, "an empty list allows nothing"),
    granted("accounts: x", f"role: '{DEPLOY}'", INVALID, "an account has twelve digits"),
    granted("session: 4h", f"role: '{DEPLOY}', session: {{duration: 5h}}", GUARDRAIL, "longer"),
    granted("session: 4h", f"role: '{DEPLOY}', session: {{duration: 240m}}", "only", "equal"),
    granted("session: 30m", f"role: '{DEPLOY}'", GUARDRAIL, "an hour, by default"),
    granted("limits: {memory: 16GiB}", "limits: {memory: 32GiB}", GUARDRAIL, "more memory"),
    granted("limits: {memory: 16GiB}", "limits: {memory: 16384MiB}", "only", "as much"),
    granted("limits: {cpus: 8}", "limits: {cpus: 8.5}", GUARDRAIL, "more processors"),
    granted("limits: {pids: 512}", "limits: {pids: 1024}", GUARDRAIL, "more processes"),
    granted("limits: {memory: 16GiB}", "limits: {cpus: 64}", "only", "not limited"),
    granted("plugins: ['cache#v1.*']", "", "only", "on the list", plugins("cache#v1.2")),
    granted("plugins: ['cache#v1.*']", "", GUARDRAIL, "not on the list", plugins("x#v1")),
    granted("plugins: []", "", GUARDRAIL, "an empty list allows nothing", plugins("x#v1")),
    granted("plugins: []", "", "only", "the job has none"),
    granted("roels: []", "", INVALID, "unknown keys are errors"),
]  # fmt: skip

SECRETS = (
    "secrets: ['ssm:/ci/*', 'secretsmanager:ci/*', '!ssm:/ci/prod/*', '!secretsmanager:ci/db']"
)


def secret(reference: str, expected: str, because: str, form: str = "secrets: {{A: '{}'}}") -> Pair:
    return granted(SECRETS, form.format(reference), expected, because)


REFERENCES = [
    secret("ssm:/ci/npm", "only", "below ci"),
    secret("ssm:/other/npm", GUARDRAIL, "not below ci"),
    secret("ssm:/ci/prod/npm", GUARDRAIL, "excluded"),
    secret("ssm:/ci/Prod/npm", GUARDRAIL, "a negation excludes every case"),
    secret("secretsmanager:ci/npm#token", "only", "below ci"),
    secret("secretsmanager:ci/db", GUARDRAIL, "excluded"),
    secret("secretsmanager:ci/db#password", GUARDRAIL, "a member of what is excluded"),
    secret("ssm:/other/key", GUARDRAIL, "keys too", "ssh-keys: ['{}']"),
    secret("ssm:/other/file", GUARDRAIL, "files too", "secret-files: {{f: '{}'}}"),
    secret("ssm:/other/git", GUARDRAIL, "tokens too", "git-tokens: {{'https://x.io/a/': '{}'}}"),
    secret("ssm:/other/r", GUARDRAIL, "logins too", "registries: {{r.example.com: '{}'}}"),
    granted("secrets: ['!secretsmanager:ci/db#password']", "secrets: {A: 'secretsmanager:ci/db'}",
            GUARDRAIL, "the whole contains the member"),
    granted("secrets: ['secretsmanager:ci/db']", "secrets: {A: 'secretsmanager:ci/db#user'}",
            "only", "a member of what is allowed"),
    granted("secrets: ['ssm:/ci/{pipeline}/*']", "secrets: {A: 'ssm:/ci/storefront/../x/y'}",
            INVALID, "no path leads out of the pipeline's own"),
    granted("secrets: []", "secrets: {A: 'ssm:/ci/npm'}", GUARDRAIL, "allows nothing"),
]  # fmt: skip


def image(allowed: str, name: str, expected: str, because: str) -> Pair:
    return granted(f"images: {allowed}", f"image: '{name}'", expected, because)


PINNED = "['registry.example.com/ci/*@sha256:*']"
IMAGES = [
    image(PINNED, f"registry.example.com/ci/node{DIGEST}", "only", "by digest"),
    image(PINNED, "registry.example.com/ci/node:20", GUARDRAIL, "by tag"),
    image(PINNED, f"other.example.com/ci/node{DIGEST}", GUARDRAIL, "another registry"),
    image("['*', '!docker.io/*']", "debian:12", GUARDRAIL, "short for docker.io/library/debian"),
    image("['*', '!debian']", "docker.io/library/debian:latest", GUARDRAIL, "debian, in full"),
    image("['*', '!docker.io/library/debian:12']", "index.docker.io/library/debian:12", GUARDRAIL,
          "another name of the same registry"),
    image("['docker.io/library/debian:*']", "debian:12", "only", "the same image"),
    image("['debian:*']", "docker.io/library/debian:12", "only", "the same image"),
    image("['*', '!registry.example.com/old/*']", "registry.example.com:443/old/x:1", GUARDRAIL,
          "443 is https"),
    image("['*', '!registry.example.com/old/*']", "registry.example.com/new/x:1", "only", "other"),
    granted("images: []", "workspace: fresh", "only", "the host's own image is the operator's"),
]  # fmt: skip

FORKS = [
    granted("", f"role: '{DEPLOY}'", GUARDRAIL, "forks get nothing by default", FORK),
    granted("", "workspace: fresh", "only", "a sandbox without grants", FORK),
    granted("", "limits: {memory: 1GiB}, image: 'r.example.com/x:1'", "only", "no access", FORK),
    granted("", f"role: '{DEPLOY}'", "only", "not a fork", OWN),
    granted("forks: refuse", "workspace: fresh", GUARDRAIL, "forks are refused", FORK),
    granted("forks: refuse", "workspace: fresh", "only", "not a fork", OWN),
    granted("forks: anything", f"role: '{DEPLOY}'", "only", "the document says so", FORK),
    granted(None, f"role: '{DEPLOY}'", GUARDRAIL, "nothing, also without a document", FORK),
    granted(None, "ssh-keys: ['ssm:/ci/key']", GUARDRAIL, "nothing, also without a document", FORK),
    granted(None, "secrets: {A: 'ssm:/ci/npm'}", GUARDRAIL, "without a document too",
            {**FORK, "BUILDKITE_PULL_REQUEST_REPO": ""}),
    granted(None, "workspace: fresh", "only", "a sandbox without grants", FORK),
    granted(None, f"role: '{DEPLOY}'", "only", "not a fork", OWN),
    granted(None, f"role: '{DEPLOY}'", "only", "no pull request"),
]  # fmt: skip

SCOPES = """roles: ['arn:aws:iam::*:role/ci/*']
scopes:
  - {name: payments, pipelines: ['payments-*', ledger], forks: anything,
     roles: ['arn:aws:iam::*:role/ci/payments/*']}
  - {name: others, pipelines: ['*', '!legacy'], roles: ['arn:aws:iam::*:role/ci/{pipeline}-*'],
     secrets: ['ssm:/ci/{pipeline}/*', 'ssm:/ci/common/*'], session: 2h, limits: {memory: 8GiB}}"""

SCOPED = [
    granted(SCOPES, role("ci/storefront-deploy"), "only", "the pipeline's own"),
    granted(SCOPES, role("ci/ledger-deploy"), GUARDRAIL, "another pipeline's"),
    granted(SCOPES, role("ci/payments/deploy"), GUARDRAIL, "another team's"),
    granted(SCOPES, role("ci/payments/deploy"), "only", "its team's", pipeline="ledger"),
    granted(SCOPES, role("ci/payments/x"), "only", "its team's", pipeline="payments-api"),
    granted(SCOPES, role("ci/ledger-x"), GUARDRAIL, "the first scope counts", pipeline="ledger"),
    granted(SCOPES, "secrets: {A: 'ssm:/x'}", "only", "not limited here", pipeline="ledger"),
    granted(SCOPES, role("ci/legacy-x"), GUARDRAIL, "in no scope", pipeline="legacy"),
    granted(SCOPES, "secrets: {A: 'ssm:/x'}", GUARDRAIL, "in no scope", pipeline="legacy"),
    granted(SCOPES, "workspace: fresh", "only", "nothing is granted", pipeline="legacy"),
    granted(SCOPES, "secrets: {A: 'ssm:/ci/storefront/npm'}", "only", "the pipeline's own"),
    granted(SCOPES, "secrets: {A: 'ssm:/ci/common/npm'}", "only", "common to all"),
    granted(SCOPES, "secrets: {A: 'ssm:/ci/storefront-2/npm'}", GUARDRAIL, "another pipeline's"),
    granted(SCOPES, "secrets: {A: 'ssm:/ci/docs/npm'}", GUARDRAIL, "another pipeline's"),
    granted(SCOPES, "limits: {memory: 16GiB}", GUARDRAIL, "more memory"),
    granted(SCOPES, f"role: '{DEPLOY}', session: {{duration: 3h}}", GUARDRAIL, "longer"),
    granted(SCOPES, f"role: '{DEPLOY}'", GUARDRAIL, "only payments may", FORK),
    granted(SCOPES, role("ci/payments/x"), "only", "payments may", FORK, pipeline="ledger"),
    granted("roles: ['*']\nscopes: [{name: a, pipelines: '*', roles: []}]", f"role: '{DEPLOY}'",
            GUARDRAIL, "the document and the scope both have to allow it"),
    granted("roles: []\nscopes: [{name: a, pipelines: '*', roles: ['*']}]", f"role: '{DEPLOY}'",
            GUARDRAIL, "the document and the scope both have to allow it"),
    granted("roles: ['arn:aws:iam::*:role/ci/{pipeline}-*']", f"role: '{DEPLOY}'", "only",
            "the pipeline's own, without scopes"),
    granted("roles: ['*', '!*:role/ci/{pipeline}-root']", role("ci/storefront-ROOT"), GUARDRAIL,
            "excluded, with its name"),
    granted("roles: ['arn:aws:iam::*:role/{organization}/*']", role("acme/x"), INVALID,
            "a document is one organization's, so it can write the name"),
    granted("roles: ['arn:aws:iam::*:role/{team}/*']", "", INVALID, "there is no {team}"),
    granted("roles: ['arn:aws:iam::*:role/{pipeline/*']", "", INVALID, "not closed"),
    granted("scopes: [{name: a, roles: []}]", "", INVALID, "for which pipelines?"),
    granted("scopes: [{name: a, pipelines: x}, {name: a, pipelines: y}]", "", INVALID, "one name"),
]  # fmt: skip

ROWS = [*ROLES, *REFERENCES, *IMAGES, *FORKS, *SCOPED]
