"""Jobs without an agent: `airlock bootstrap` as the agent starts it, each under the test's control.

Inside, a script runs in place of the agent's bootstrap, because what is tested is the host's part.
A job holds everything that a job can: a role, an ssh key, a fresh workspace.
"""

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.ssm import StrictSsm
from tests.lab import world
from tests.lab.lab import AIRLOCK, ROLE, Fleet

POLICY = (
    f"  - {{name: all, allow: {{role: '{ROLE}', workspace: fresh, "
    "ssh-keys: 'ssm:/storefront/deploy-key'}}\n"
)
# A job with this in its command waits until the test calls `open_gate`.
GATE_FILE = 'until test -e "$BUILDKITE_BUILD_PATH/go"; do sleep 0.1; done'
_SCRIPT = '#!/bin/sh\necho "the job runs"\neval "$BUILDKITE_COMMAND"\n'


@dataclass(frozen=True, kw_only=True, slots=True)
class Direct:
    """Starts jobs of one fleet."""

    fleet: Fleet
    config: Path

    def airlock(self, *arguments: str) -> list[str]:
        """Return the command line of a command of Airlock on this host."""
        return [*AIRLOCK, *arguments, "--config", str(self.config)]

    def start(
        self,
        command: str = "true",
        *,
        tracer: Sequence[str] = (),
        program: Sequence[str] = (),
        stdin: int = subprocess.DEVNULL,
        **env: str,
    ) -> subprocess.Popen[bytes]:
        """Start a job below `tracer`; its log is the process's output.

        `program` is what the agent would start; the default is Airlock alone.
        """
        sent = self.fleet.env(command, **env)
        job = sent["BUILDKITE_JOB_ID"]
        file = self.fleet.base / f"job-env-json-{job}1"
        file.write_text(json.dumps(sent))
        return subprocess.Popen(
            [*tracer, *(program or self.airlock("bootstrap"))],
            env={
                "PATH": "/usr/bin:/bin",
                "BUILDKITE_ENV_JSON_FILE": str(file),
                "BUILDKITE_AGENT_ACCESS_TOKEN": "bkaj_token",
                "BUILDKITE_BUILD_PATH": str(self.fleet.base / "builds"),
                "BUILDKITE_PLUGINS_PATH": str(self.fleet.base / "plugins"),
            },
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def open_gate(self) -> None:
        """Let all jobs go on that wait at `GATE_FILE`."""
        self.tell("go")

    def tell(self, name: str) -> None:
        """Create the file `name` in the build directory of all jobs."""
        for builds in (self.fleet.base / "state/fresh").glob("*/builds"):
            (builds / name).touch()

    def gc(self) -> str:
        """Run `airlock gc` and return its output."""
        return subprocess.run(
            self.airlock("gc"), capture_output=True, text=True, check=True, timeout=120
        ).stdout


@contextmanager
def direct(fleet: Fleet, further: str = "") -> Iterator[Direct]:
    """Set the fleet's policy and configuration up for such jobs."""
    stub = fleet.base / "bootstrap-in-place-of-the-agent"
    stub.write_text(_SCRIPT)
    stub.chmod(0o755)
    key = fleet.base / "deploy-key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    with StrictSsm(world.listen(world.WORLD, 0)) as ssm:
        ssm.put("/storefront/deploy-key", key.read_text(), kind="SecureString")
        text = fleet.config.read_text().replace("[aws]", f'[aws]\nssm-endpoint = "{ssm.url}"')
        fleet.config.write_text(text)
        fleet.policy(POLICY.replace("all, allow: {", f"all, allow: {{{further}"))
        config = fleet.config.with_name("direct.toml")
        config.write_text(
            re.sub("^agent-binary = .*$", f'agent-binary = "{stub}"', text, flags=re.MULTILINE)
        )
        yield Direct(fleet=fleet, config=config)
