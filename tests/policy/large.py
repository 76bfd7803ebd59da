"""The policies of a whole company, generated: every pipeline has roles of its own."""

from pathlib import Path

PIPELINES, ACCOUNTS = 1000, 50
FURTHER = 4  # accounts of a pipeline beside those of its deployments and tests

GUARDRAILS = """guardrails: acme
roles: ["arn:aws:iam::*:role/ci/*", "arn:aws:iam::*:role/hub"]
session: 4h
limits: {memory: 16GiB}
forks: nothing
"""


def account(number: int) -> str:
    return f"{111100000000 + number % ACCOUNTS}"


def role(number: int, name: str) -> str:
    return f"arn:aws:iam::{account(number)}:role/ci/{name}"


def name(number: int) -> str:
    return f"team-{number % 40:02}-service-{number:04}"


def document(number: int) -> str:
    """Return a policy that uses `via`, tags, secrets and further profiles."""
    profiles = "".join(
        f"        audit-{step}: {role(number + 11 * step + 3, f'{name(number)}-read')}\n"
        for step in range(FURTHER)
    )
    via = f", via: 'arn:aws:iam::{account(0)}:role/hub'" if number % 3 == 0 else ""
    return f"""pipeline: {name(number)}
repository: git@github.com:acme/{name(number)}.git
rules:
  - name: deploy
    when: {{branch: [main, "release/*"], creator-team: [team-{number % 40}, platform]}}
    allow:
      role: {role(number, f"{name(number)}-deploy")}
      roles:
{profiles}      session: {{duration: 2h, tags: {{service: {name(number)}}}{via}}}
      secrets: {{NPM_TOKEN: "ssm:/ci/{name(number)}/npm-token"}}
  - name: branches
    when: {{branch: "*", pull-request: same-repository}}
    allow: {{role: "{role(number + 7, f"{name(number)}-test")}"}}
  - name: forks
    when: {{pull-request: any}}
    allow: {{workspace: fresh}}
"""


def write(directory: Path, pipelines: int = PIPELINES) -> Path:
    directory.mkdir(parents=True)
    (directory / "guardrails.yaml").write_text(GUARDRAILS)
    for number in range(pipelines):
        (directory / f"{name(number)}.yaml").write_text(document(number))
    return directory
