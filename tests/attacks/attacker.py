"""A real sandbox for attackers: isolated by Airlock, driven step by step by a test."""

import json
import subprocess
import textwrap
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.control_plane import Job
from tests.lab import world
from tests.lab.engine import eventually
from tests.lab.lab import FIRST_USER, Fleet
from tests.lab.leftovers import RUNTIME

UNPROTECTED = "unprotected"  # the engine's network without Airlock's ruleset


@dataclass(frozen=True, kw_only=True, slots=True)
class Attacker:
    """A job that is running in its sandbox."""

    fleet: Fleet
    job: Job
    container: str

    @property
    def pid(self) -> int:
        return int(self._inspect("{{.State.Pid}}"))

    @property
    def address(self) -> str:
        """By Airlock's record: the engine has none for a container in another one's namespace."""
        token = self._inspect('{{index .Config.Labels "airlock.job"}}')
        record = json.loads((RUNTIME / "jobs" / token / "address").read_text())
        return str(record["address"])

    @property
    def uid(self) -> str:
        return self._inspect("{{.Config.User}}").partition(":")[0]

    def _inspect(self, what: str) -> str:
        command = ["docker", "-H", self.fleet.lab.docker, "inspect", "-f", what, self.container]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def tries(self, script: str, seconds: int = 20) -> "subprocess.CompletedProcess[str]":
        """Run a script as a process of the job itself: its seccomp, its cgroup, its user.

        Scripts may run at the same time. Environment and directory are the job's own. Nothing of
        the script or of its output stays in the container.
        """
        world.assert_contained()
        box = Path(f"/proc/{self.pid}/root{_BOX}")
        number = uuid.uuid4().hex
        files = {kind: box / f"{number}.{kind}" for kind in ("script", "out", "err", "status")}
        files["script"].write_text(textwrap.dedent(script))
        try:
            with (box / "next").open("w") as queue:
                queue.write(f"{number} {seconds}\n")
            eventually(files["status"].exists, "the job's script ends", seconds + 10)
            return subprocess.CompletedProcess(
                args=script,
                returncode=int(files["status"].read_text()),
                stdout=files["out"].read_bytes().decode(errors="replace"),
                stderr=files["err"].read_bytes().decode(errors="replace"),
            )
        finally:
            for path in files.values():
                path.unlink(missing_ok=True)


# The command of the attacker's job: it runs every script whose number it reads. A script is deleted
# before it runs, so that a search of the container does not find what it searches for.
_BOX = "/tmp/.attacker"
_COMMAND = f"""mkdir -m 0700 {_BOX}
mkfifo {_BOX}/next
exec 7<>{_BOX}/next
sleep 300 &
one() {{
  script=$(cat {_BOX}/$1.script)
  rm {_BOX}/$1.script
  status=0
  timeout $2 bash -c "$script" </dev/null >{_BOX}/$1.out 2>{_BOX}/$1.err 7>&- || status=$?
  echo $status >{_BOX}/$1.new
  mv {_BOX}/$1.new {_BOX}/$1.status
}}
echo attacker is ready
while read -r -t 300 number seconds <&7; do one $number $seconds & done"""


@contextmanager
def attacker(fleet: Fleet, **overrides: str) -> Iterator[Attacker]:
    """Run a job that waits for scripts, and yield its sandbox to the test."""
    name = f"agent-{len(fleet.control.jobs) + 1}"
    with fleet.agent(name=name):
        env = fleet.env(_COMMAND, BUILDKITE_AGENT_NAME=name, **overrides)
        job = fleet.control.enqueue(env)
        fleet.control.wait(job, lambda j: b"\nattacker is ready" in j.log or j.finish)
        assert job.finish is None, job.log.decode()
        yield Attacker(fleet=fleet, job=job, container=container_of(fleet, job))
        fleet.control.cancel(job)
        fleet.control.finished(job)


def container_of(fleet: Fleet, job: Job) -> str:
    docker = ("docker", "-H", fleet.lab.docker)
    return run(*docker, "ps", "-q", "--filter", f"label=airlock.job-id={job.id}").strip()


@contextmanager
def unprotected_container(fleet: Fleet) -> Iterator["Unprotected"]:
    """A container with a job's user and capabilities, on a bridge without Airlock's ruleset."""
    docker = ["docker", "-H", fleet.lab.docker]
    run(
        *docker,
        "network",
        "create",
        "-o",
        f"com.docker.network.bridge.name={UNPROTECTED}0",
        UNPROTECTED,
    )
    try:
        started = run(
            *docker, "run", "-d", "--rm", "--network", UNPROTECTED, "--user", FIRST_USER,
            "--cap-drop", "ALL", fleet.lab.image, "sleep", "120",
        )  # fmt: skip
        yield Unprotected(docker=docker, container=started.strip())
        run(*docker, "rm", "-f", started.strip())
    finally:
        run(*docker, "network", "rm", UNPROTECTED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Unprotected:
    """Runs the same attacks, without the protection."""

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
