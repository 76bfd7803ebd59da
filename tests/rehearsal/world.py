"""What the machine talks to: everything at the other end of its only link."""

import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.control_plane import ControlPlane, Job
from tests.fakes.dns import Resolver
from tests.fakes.git import GitServer, publish
from tests.fakes.metadata import Metadata
from tests.fakes.secretsmanager import SecretsManager
from tests.fakes.simulator import listening
from tests.fakes.ssm import StrictSsm, denial
from tests.fakes.sts import StrictSts, Trust
from tests.lab.lab import REPOSITORY, ROLE
from tests.lab.world import METADATA_V4, METADATA_V6
from tests.rehearsal import machine
from tests.rehearsal.given import AGENT, AGENTS_API, CONTROL, GIT, REPO, SECRETS, SSM, STS


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """The control plane that has jobs, and the STS that gives them credentials."""

    control: ControlPlane
    sts: StrictSts
    commit: str

    def enqueue(self, command: str, **overrides: str) -> Job:
        env = {
            "CI": "true", "BUILDKITE": "true", "BUILDKITE_BUILD_NUMBER": "7",
            "BUILDKITE_ORGANIZATION_SLUG": "acme", "BUILDKITE_PIPELINE_SLUG": "storefront",
            "BUILDKITE_PIPELINE_PROVIDER": "github", "BUILDKITE_PIPELINE_DEFAULT_BRANCH": "main",
            "BUILDKITE_REPO": REPO, "BUILDKITE_BRANCH": "main", "BUILDKITE_COMMIT": self.commit,
            "BUILDKITE_MESSAGE": "Ship it", "BUILDKITE_PULL_REQUEST": "false",
            "BUILDKITE_SOURCE": "ui", "BUILDKITE_AGENT_NAME": AGENT,
            "BUILDKITE_AGENT_META_DATA_QUEUE": "default", "BUILDKITE_COMMAND": command,
            "BUILDKITE_TIMEOUT": "false",
        }  # fmt: skip
        return self.control.enqueue({**env, **overrides})


@contextmanager
def world(directory: Path) -> Iterator[World]:
    """Run all of it, and the link, until this closes."""
    shutil.rmtree(directory / "git", ignore_errors=True)
    (directory / "git").mkdir()
    commit = publish(directory / "git", "storefront", REPOSITORY)
    with ExitStack() as held:
        held.enter_context(machine.link())
        control = ControlPlane(listening(machine.HOST, CONTROL))
        sts = StrictSts(listening(machine.HOST, STS), {ROLE: Trust()})
        metadata = Metadata(listening(METADATA_V4, 80))
        metadata.hops = 1
        # The instance's role may assume roles, and nothing else.
        ssm = StrictSsm(listening(machine.HOST, SSM))
        ssm.fail("POST *", denial("ssm:GetParameters", "*"), 1 << 30)
        secrets = SecretsManager(listening(machine.HOST, SECRETS), {})
        secrets.fail("POST *", denial("secretsmanager:GetSecretValue", "*"), 1 << 30)
        for simulator in (
            control, sts, metadata, ssm, secrets, Metadata(listening(METADATA_V6, 80)),
            GitServer(listening(machine.HOST, GIT), directory / "git"),
            Resolver(_datagrams(), {AGENTS_API: "192.0.2.1"}),
        ):  # fmt: skip
            held.enter_context(simulator)
        yield World(control=control, sts=sts, commit=commit)


def _datagrams() -> socket.socket:
    ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ours.bind((machine.HOST, 53))
    return ours
