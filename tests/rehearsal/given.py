"""What an operator writes for the host of the rehearsal, and where it finds what it talks to."""

import shutil
from pathlib import Path

from tests.fakes.control_plane import REGISTRATION
from tests.lab import agent
from tests.lab.lab import ROLE, STORAGE
from tests.rehearsal import machine

HERE = Path(__file__).parent
CONTROL, STS, GIT, SSM, SECRETS = range(8180, 8185)
# Somebody listens here as soon as the jobs of a boot have ended.
ENDED = 8185
REPO = f"http://{machine.HOST}:{GIT}/storefront.git"
AGENT = "rehearsal-1"
AGENTS_API = "agent.buildkite.com"

# The image is named by its id as soon as there is one (tests/rehearsal/build).
CONFIGURATION = f"""[policy]
store = "file:/etc/airlock/policies"
guardrails = "file:/etc/airlock/policies/guardrails.yaml"
[aws]
region = "us-east-1"
credentials = "instance-role"
sts-endpoint = "http://{machine.HOST}:{STS}"
ssm-endpoint = "http://{machine.HOST}:{SSM}"
secretsmanager-endpoint = "http://{machine.HOST}:{SECRETS}"
[sandbox]
image = "registry.example.com/ci/job:1"
pull = "never"
memory = "512MiB"
tmp = "128MiB"
slots = 4
pids = 1024
dns = ["{machine.HOST}"]
[storage]
{STORAGE}workspaces-size = "1GiB"
histories-size = "1GiB"
"""
POLICY = f"""pipeline: storefront
repository: {REPO}
rules:
  - name: main
    when: {{branch: main}}
    allow: {{role: "{ROLE}"}}
"""
GUARDRAILS = "guardrails: acme\naccounts: ['111122223333']\nforks: nothing\n"
AGENTS = f"""token="{REGISTRATION}"
endpoint="http://{machine.HOST}:{CONTROL}"
name="{AGENT}"
ping-mode="poll-only"
build-path="/var/lib/buildkite-agent/builds"
plugins-path="/var/lib/buildkite-agent/plugins"
"""


def write(given: Path) -> None:
    """Write all of it into a directory, which is replaced; the agent's binary is there too."""
    program = agent.binary()
    shutil.rmtree(given, ignore_errors=True)
    (given / "policies").mkdir(parents=True)
    (given / "airlock.toml").write_text(CONFIGURATION)
    (given / "policies/storefront.yaml").write_text(POLICY)
    (given / "policies/guardrails.yaml").write_text(GUARDRAILS)
    (given / "buildkite-agent.cfg").write_text(AGENTS)
    (given / "network").write_text(machine.NETWORK)
    shutil.copy(program, given / "buildkite-agent")
    shutil.copy(HERE / "report", given / "report")
