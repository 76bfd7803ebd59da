"""Grants and jobs that evade a guardrail, each with a grant that the guardrail allows."""

from dataclasses import dataclass, field

from tests.job.given import plugins

ACCOUNT = "arn:aws:iam::111122223333:role"
SECRET_ARN = "secretsmanager:arn:aws:secretsmanager:us-east-1:111122223333:secret"
ECR = "111122223333.dkr.ecr.us-east-1.amazonaws.com"
SSM_ARN = "ssm:arn:aws:ssm:us-east-1:111122223333:parameter"


@dataclass(frozen=True, kw_only=True)
class Attack:
    """A guardrail, a rule's `allow` that evades it, and the honest one, which uses it rightly."""

    name: str
    rails: str
    allow: str
    honest: str
    when: str = "{}"
    env: dict[str, str] = field(default_factory=dict)


def role(name: str) -> str:
    return f"role: '{ACCOUNT}/{name}'"


def excluded(name: str, rails: str, allow: str, honest: str) -> Attack:
    return Attack(name=name, rails=rails, allow=allow, honest=honest)


BREAK_GLASS = "roles: ['*', '!*:role/ci/break-glass']"
KEYS = "secrets: ['ssm:*', 'secretsmanager:*', '!ssm:/prod/*', '!secretsmanager:prod/db']"
OWN = "roles: ['*:role/ci/{pipeline}/*']\nsecrets: ['ssm:/ci/{pipeline}/*']"
TEAMS = (
    "scopes: [{name: web, pipelines: storefront, roles: '*:role/web/*'},"
    " {name: rest, pipelines: '*', roles: '*:role/rest/*'}]"
)
PROD = "requires: {roles: '*:role/prod-*', branch: main, vouched: yes}"
COMMAND = "requires: {roles: '*:role/prod-*', command: make deploy, vouched: yes}"

GUARDRAILS = [
    excluded("excluded role in capitals", BREAK_GLASS, role("ci/Break-Glass"), role("ci/x")),
    excluded("excluded role as a profile in capitals", BREAK_GLASS,
             f"roles: {{x: '{ACCOUNT}/ci/BREAK-GLASS'}}", role("ci/x")),
    excluded("excluded secret in capitals", KEYS, "secrets: {A: 'ssm:/PROD/x'}",
             "secrets: {A: 'ssm:/ci/x'}"),
    excluded("excluded secret by its ARN", KEYS, f"secrets: {{A: '{SSM_ARN}/prod/x'}}",
             "secrets: {A: 'ssm:/ci/x'}"),
    excluded("excluded secret without the slash", KEYS, "secrets: {A: 'ssm:prod/x'}",
             "secrets: {A: 'ssm:/ci/x'}"),
    excluded("member of an excluded secret", KEYS, "secrets: {A: 'secretsmanager:prod/db#user'}",
             "secrets: {A: 'secretsmanager:ci/db#user'}"),
    excluded("excluded secret by a whole ARN", KEYS,
             f"secrets: {{A: '{SECRET_ARN}:prod/db-AbCd12'}}", "secrets: {A: 'ssm:/ci/db'}"),
    excluded("secret that contains an excluded member", "secrets: ['*', '!secretsmanager:a#b']",
             "secrets: {A: 'secretsmanager:a'}", "secrets: {A: 'secretsmanager:a#c'}"),
    excluded("older version of an excluded secret", "secrets: ['*', '!ssm:/a']",
             "secrets: {A: 'ssm:/a:3'}", "secrets: {A: 'ssm:/b:3'}"),
    excluded("excluded member by the secret's ARN", "secrets: ['*', '!secretsmanager:a#c']",
             f"secrets: {{A: '{SECRET_ARN}:a-AbCd12#c'}}", "secrets: {A: 'secretsmanager:a#d'}"),
    excluded("excluded member of an older version", "secrets: ['*', '!ssm:/a#c']",
             "secrets: {A: 'ssm:/a:3#c'}", "secrets: {A: 'ssm:/b:3#c'}"),
    excluded("excluded secret by an ARN in capitals", KEYS,
             "secrets: {A: 'ssm:ARN:AWS:ssm:us-east-1:111122223333:Parameter/prod/x'}",
             "secrets: {A: 'ssm:/ci/x'}"),
    excluded("secret by its name where its ARN is excluded", f"secrets: ['*', '!{SSM_ARN}/prod/x']",
             "secrets: {A: 'ssm:/prod/x'}", "secrets: {A: 'ssm:/ci/x'}"),
    excluded("secret whose member is named like the pipeline", "secrets: 'ssm:*/{pipeline}/*'",
             "secrets: {A: 'ssm:/prod/x#/storefront/y'}", "secrets: {A: 'ssm:/ci/storefront/y'}"),
    excluded("excluded role in another partition", "roles: ['*', '!arn:aws:iam::*:role/ci/root']",
             "role: 'arn:aws-cn:iam::111122223333:role/ci/root'", role("ci/x")),
    excluded("excluded image by its short name", "images: ['*', '!docker.io/library/debian:*']",
             "image: 'debian:12'", "image: 'alpine:3'"),
    excluded("excluded image by another name of the registry", "images: ['*', '!debian']",
             "image: 'index.docker.io/library/debian:12'", "image: 'alpine:3'"),
    excluded("excluded registry by its port", "images: ['*', '!r.example.com/*']",
             "image: 'r.example.com:443/x:1'", "image: 's.example.com/x:1'"),
    excluded("excluded registry by its port with a zero", "images: ['*', '!r.example.com/*']",
             "image: 'r.example.com:0443/x:1'", "image: 's.example.com/x:1'"),
    excluded("excluded registry that is excluded without a slash", "images: ['*', '!r.example.*']",
             "image: 'r.example.com/x:1'", "image: 's.example.com/x:1'"),
    excluded("excluded repository of ECR by its other host", f"images: ['*', '!{ECR}/pay/*']",
             "image: '111122223333.dkr-ecr.us-east-1.on.aws/pay/x:1'", f"image: '{ECR}/x:1'"),
    excluded("excluded repository of ECR by its host for FIPS", f"images: ['*', '!{ECR}/pay/*']",
             "image: '111122223333.dkr.ecr-fips.us-east-1.amazonaws.com/pay/x:1'",
             f"image: '{ECR}/x:1'"),
    excluded("registry that is named like an image", "images: 'node:*'", "image: 'node:5000/x'",
             "image: 'node:20'"),
    excluded("role of another pipeline", OWN, role("ci/warehouse/x"), role("ci/storefront/x")),
    excluded("role of a pipeline with the same beginning", OWN, role("ci/storefront-2/x"),
             role("ci/storefront/x")),
    excluded("secret of another pipeline", OWN, "secrets: {A: 'ssm:/ci/warehouse/x'}",
             "secrets: {A: 'ssm:/ci/storefront/x'}"),
    excluded("role of another team", TEAMS, role("rest/x"), role("web/x")),
    excluded("role for a pipeline in no scope", "scopes: [{name: a, pipelines: warehouse}]",
             role("x"), "workspace: fresh"),
    excluded("session tag of another team", "session-tags: ['team={pipeline}', 'cost=*']",
             f"{role('x')}, session: {{tags: {{team: warehouse}}}}",
             f"{role('x')}, session: {{tags: {{team: storefront, cost: '1'}}}}"),
    excluded("session tag that a team may not have", "session-tags: ['*', '!team=*']",
             f"{role('x')}, session: {{tags: {{TEAM: warehouse}}}}", role("x")),
    Attack(name="sensitive role from another branch", rails=PROD, allow=role("prod-x"),
           honest=role("prod-x"), env={"BUILDKITE_BRANCH": "dev"}),
    Attack(name="sensitive role in capitals", rails=PROD, allow=role("Prod-x"),
           honest=role("prod-x"), env={"BUILDKITE_BRANCH": "dev"}),
    Attack(name="sensitive role as a second hop", rails=PROD, honest=role("prod-x"),
           allow=f"{role('x')}, session: {{via: '{ACCOUNT}/prod-x'}}",
           env={"BUILDKITE_BRANCH": "dev"}),
    Attack(name="sensitive role in another partition", honest=role("prod-x"),
           rails="requires: {roles: 'arn:aws:iam::*:role/prod-*', branch: main}",
           allow="role: 'arn:aws-us-gov:iam::111122223333:role/prod-x'",
           env={"BUILDKITE_BRANCH": "dev"}),
    Attack(name="sensitive secret by its name", honest="secrets: {A: 'ssm:/x'}",
           rails=f"requires: {{secrets: '{SECRET_ARN}:prod/*', branch: main}}",
           allow="secrets: {A: 'secretsmanager:prod/db'}", env={"BUILDKITE_BRANCH": "dev"}),
    Attack(name="sensitive member by the secret's ARN", honest="secrets: {A: 'ssm:/x'}",
           rails="requires: {secrets: 'secretsmanager:prod/db#password', branch: main}",
           allow=f"secrets: {{A: '{SECRET_ARN}:prod/db-AbCd12#password'}}",
           env={"BUILDKITE_BRANCH": "dev"}),
    Attack(name="sensitive role by a variable", rails=PROD, allow=role("prod-x"),
           honest=role("test-x"), when="{env: {CI: 'true'}}"),
    Attack(name="sensitive role by a name that people can change", rails=PROD,
           allow=role("prod-x"), honest=role("test-x"), when="{creator: Ada}"),
    Attack(name="sensitive role by a step's name", rails=PROD, allow=role("prod-x"),
           honest=role("test-x"), when="{step: deploy}"),
    Attack(name="sensitive role for a command that a variable changes", rails=COMMAND,
           allow=f"{role('prod-x')}, env: BASH_ENV", honest=role("prod-x")),
    Attack(name="sensitive role for a command that any variable may change", rails=COMMAND,
           allow=f"{role('prod-x')}, env: '*'", honest=f"{role('prod-x')}, env: GIT_COMMIT"),
    Attack(name="sensitive role for a command that a secret changes", rails=COMMAND,
           allow=f"{role('prod-x')}, secrets: {{BASH_ENV: 'ssm:/x'}}",
           honest=f"{role('prod-x')}, secrets: {{NPM_TOKEN: 'ssm:/x'}}"),
    *(
        Attack(name=f"sensitive role for a command that a secret in {name} changes", rails=COMMAND,
               allow=f"{role('prod-x')}, secrets: {{{name}: 'ssm:/x'}}",
               honest=f"{role('prod-x')}, secrets: {{ANSIBLE_VAULT_PASSWORD: 'ssm:/x'}}")
        for name in ("CARGO_REGISTRY_CREDENTIAL_PROVIDER", "ANSIBLE_VAULT_PASSWORD_FILE")
    ),
    Attack(name="sensitive role for a command with a plugin beside it", rails=COMMAND,
           allow=role("prod-x"), honest=role("prod-x"), env=plugins("mallory/x#v1")),
    Attack(name="sensitive role for a command beside plugins that cannot be read", rails=COMMAND,
           allow=role("prod-x"), honest=role("prod-x"), env={"BUILDKITE_PLUGINS": "{"}),
    Attack(name="sensitive role for a command where the rule lists the plugin", rails=COMMAND,
           when="{plugin: '*'}", allow=role("prod-x"), honest=role("prod-x"),
           env=plugins("mallory/x#v1")),
    Attack(name="sensitive role without a signature", honest=role("test-x"),
           rails="requires: {roles: '*:role/prod-*', signed: yes}", allow=role("prod-x")),
]  # fmt: skip
