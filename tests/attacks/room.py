"""A room of the real kind for attackers: sealed by Airlock, driven step by step by a test."""

import subprocess
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.fakes.control_plane import Job
from tests.lab import world
from tests.lab.lab import FIRST_USER, Fleet


@dataclass(frozen=True, kw_only=True, slots=True)
class Attacker:
    """A job that is running in its sealed room."""

    fleet: Fleet
    job: Job
    container: str

    @property
    def pid(self) -> int:
        return int(self._inspect("{{.State.Pid}}"))

    @property
    def address(self) -> str:
        return self._inspect("{{.NetworkSettings.Networks.airlock.IPAddress}}")

    @property
    def uid(self) -> str:
        return self._inspect("{{.Config.User}}").partition(":")[0]

    def _inspect(self, what: str) -> str:
        command = ["docker", "-H", self.fleet.lab.docker, "inspect", "-f", what, self.container]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def tries(self, script: str, seconds: int = 20) -> "subprocess.CompletedProcess[str]":
        """Run a script as the job's user in the room's own namespaces."""
        world.assert_contained()
        enter = ["nsenter", "--target", str(self.pid), "--all", "--"]
        powerless = ["setpriv", "--reuid", self.uid, "--regid", self.uid, "--clear-groups"]
        powerless += ["--bounding-set", "-all", "--inh-caps", "-all", "--no-new-privs", "--"]
        return subprocess.run(
            [*enter, *powerless, "timeout", str(seconds), "bash", "-c", textwrap.dedent(script)],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home/airlock"},
        )


@contextmanager
def attacker(fleet: Fleet, **overrides: str) -> Iterator[Attacker]:
    """Run a job that waits, and hand its room to the test."""
    name = f"agent-{len(fleet.control.jobs) + 1}"
    with fleet.agent(name=name):
        env = fleet.env("echo the room is mine; sleep 300", BUILDKITE_AGENT_NAME=name, **overrides)
        job = fleet.control.enqueue(env)
        fleet.control.wait(job, lambda j: b"\nthe room is mine" in j.log or j.finish)
        assert job.finish is None, job.log.decode()
        yield Attacker(fleet=fleet, job=job, container=_container(fleet, job))
        fleet.control.cancel(job)
        fleet.control.finished(job)


def _container(fleet: Fleet, job: Job) -> str:
    command = [
        "docker",
        "-H",
        fleet.lab.docker,
        "ps",
        "-q",
        "--filter",
        f"label=airlock.job-id={job.id}",
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@contextmanager
def unprotected(fleet: Fleet) -> Iterator["Unprotected"]:
    """A container as sealed as any, on a bridge without walls: what the attack would meet."""
    docker = ["docker", "-H", fleet.lab.docker]
    run(*docker, "network", "create", "-o", "com.docker.network.bridge.name=nowalls0", "nowalls")
    try:
        started = run(
            *docker, "run", "-d", "--rm", "--network", "nowalls", "--user", FIRST_USER,
            "--cap-drop", "ALL", fleet.lab.image, "sleep", "120",
        )  # fmt: skip
        yield Unprotected(docker=docker, container=started.strip())
        run(*docker, "rm", "-f", started.strip())
    finally:
        run(*docker, "network", "rm", "nowalls")


@dataclass(frozen=True, kw_only=True, slots=True)
class Unprotected:
    """The same attacks, without the protection."""

    docker: list[str]
    container: str

    def tries(self, script: str, seconds: int = 20) -> "subprocess.CompletedProcess[str]":
        world.assert_contained()
        command = [*self.docker, "exec", self.container, "timeout", str(seconds), "bash", "-c"]
        return subprocess.run(
            [*command, textwrap.dedent(script)], capture_output=True, text=True, check=False
        )


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
