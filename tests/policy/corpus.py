"""A folder of policies as a large organisation has it, generated."""

from pathlib import Path

PIPELINES, ACCOUNTS = 300, 20


def account(number: int) -> str:
    return f"{111100000000 + number % ACCOUNTS}"


def document(number: int) -> str:
    prod = f"arn:aws:iam::{account(number)}:role/ci/deploy-{number % 40}"
    test = f"arn:aws:iam::{account(number + 7)}:role/ci/test-{number % 25}"
    return f"""# Owned by team-{number % 30}
pipeline: service-{number:03}
repository: git@github.com:acme/service-{number:03}.git
rules:
  - name: deploy
    when:
      branch: [main, "release/*"]
      creator-team: [team-{number % 30}, platform]
      source: [ui, api]
      queue: deploy
    allow:
      role: {prod}
      session: {{duration: 1h, tags: {{service: service-{number:03}}}}}
      limits: {{memory: 8GiB, cpus: 4}}
  - name: branches
    when: {{branch: "*", pull-request: same-repository}}
    allow: {{role: "{test}"}}
  - name: forks
    when: {{pull-request: any}}
    allow: {{workspace: fresh}}
"""


def cases(number: int) -> str:
    return f"""pipeline: service-{number:03}
cases:
  - name: main deploys
    given: {{branch: main, creator-team: platform, queue: deploy}}
    expect: {{rule: deploy, role: "arn:aws:iam::{account(number)}:role/ci/deploy-{number % 40}"}}
  - name: a webhook does not deploy
    given: {{branch: main, creator-team: platform, queue: deploy, source: webhook}}
    expect: {{rule: branches}}
  - name: a fork gets nothing
    given: {{pull-request: fork}}
    expect: {{rule: forks, role: none}}
"""


GUARDRAILS = """guardrails: acme
roles: ["arn:aws:iam::*:role/ci/*"]
session: 4h
limits: {memory: 16GiB}
forks: nothing
"""


def write(directory: Path, pipelines: int = PIPELINES) -> Path:
    directory.mkdir(parents=True)
    (directory / "guardrails.yaml").write_text(GUARDRAILS)
    for number in range(pipelines):
        (directory / f"service-{number:03}.yaml").write_text(document(number))
        (directory / f"service-{number:03}.test.yaml").write_text(cases(number))
    return directory
