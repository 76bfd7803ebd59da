"""A set of policies as a careful team writes them, for what lint must not complain about."""

from pathlib import Path

IMAGE = f"registry.example.com/ci/node@sha256:{'0' * 64}"
TEST = "arn:aws:iam::444455556666:role/ci/test"


def deploy(name: str, extra: str = "") -> str:
    return f"""
  - name: deploy
    when:
      branch: main
      creator-team: [team-{name}, platform]
      source: [ui, api]
      queue: deploy
      commit-on-branch: verified
    allow:
      role: arn:aws:iam::111122223333:role/ci/{name}-deploy
      session: {{duration: 1h, tags: {{service: {name}}}}}
      limits: {{memory: 8GiB, cpus: 4}}{extra}
"""


RELEASE = """
  - name: release
    when: {tag: "v*", creator-team: platform, source: ui, plugin: "!*"}
    allow:
      role: arn:aws:iam::111122223333:role/ci/release
      secrets: {NPM_TOKEN: "ssm:/ci/npm-token"}
"""
OURS = f"""
  - name: our own pull requests
    when: {{pull-request: same-repository, plugin: ["docker#v5.*", "cache#v1.*"]}}
    allow:
      role: {TEST}
      image: {IMAGE}
"""
BRANCHES = f"""
  - name: branches
    when: {{branch: ["*", "!main"]}}
    allow: {{role: {TEST}}}
"""
NIGHTLY = """
  - name: nightly
    when: {branch: main, source: schedule, step: nightly}
    allow: {role: arn:aws:iam::444455556666:role/ci/nightly, session: {duration: 1h}}
"""
FORKS = """
  - name: forks
    when: {pull-request: any}
    allow: {workspace: fresh}
"""
KEYS = """
      ssh-keys: "ssm:/ci/deploy-key"
      registries: {111122223333.dkr.ecr.us-east-1.amazonaws.com: role}"""

RULES = {
    "storefront": deploy("storefront") + OURS + FORKS,
    "warehouse": deploy("warehouse", KEYS) + RELEASE + OURS,
    "billing": deploy("billing") + NIGHTLY + BRANCHES + OURS + FORKS,
    "search": deploy("search") + BRANCHES + OURS,
    "website": RELEASE + OURS + FORKS,
    "images": deploy("images", KEYS) + NIGHTLY + OURS,
    "mobile": RELEASE + BRANCHES + OURS + FORKS,
    "terraform": deploy("terraform") + OURS,
    "docs": FORKS,
}

GUARDRAILS = """guardrails: acme
roles: ["arn:aws:iam::*:role/ci/*"]
secrets: ["ssm:/ci/*"]
session: 1h
limits: {memory: 16GiB}
"""


def write(directory: Path) -> Path:
    directory.mkdir(mode=0o755)
    (directory / "guardrails.yaml").write_text(GUARDRAILS)
    for name, rules in RULES.items():
        head = f"pipeline: {name}\nrepository: git@github.com:acme/{name}.git\nrules:"
        (directory / f"{name}.yaml").write_text(head + rules)
    return directory
