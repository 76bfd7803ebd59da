"""The ways of starting the same job: by hand, by a script, and by Airlock.

Every way starts the same image with the same flags, entry script and environment, at the same
engine's socket. In place of the agent runs a script that prints its first line at once, so that the
agent's own start-up is not measured.
"""

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bootstrap.sandbox import confinement
from tests.fakes.metadata import ACCESS_KEY_ID
from tests.lab.lab import AIRLOCK, FIRST_USER, ROLE, Fleet

FIRST = b"first byte of the job"
_STUB = f"""#!/bin/sh
echo '{FIRST.decode()}'
eval "$BUILDKITE_COMMAND"
"""
_ENTRY = "exec 2>&1\n. /airlock/env\nexec /opt/airlock/bin/buildkite-agent bootstrap\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """How one job is started: what the agent's hook runs first, if anything, and the rest."""

    command: Sequence[str]
    env: Mapping[str, str]
    hook: Sequence[str] | None = None


# Takes the job's own command and the number of an agent: two jobs at once have different ones.
Way = Callable[[str, int], Start]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ways:
    """Ways for one fleet; its configuration is changed to start the script."""

    made: Fleet
    stub: Path
    seccomp: Path
    launcher: Sequence[str] = ()
    python: Sequence[str] = AIRLOCK

    def bare(self, command: str, agent: int) -> Start:
        """Start `docker run` with the flags of a job."""
        run = ["docker", "-H", self.made.lab.docker, "run", *self._flags(command, agent)]
        return Start(command=run, env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"})

    def shell(self, command: str, agent: int) -> Start:
        """Start a script that gets the role's session with curl and calls `docker run`."""
        script = str(Path(__file__).with_name("shell-bootstrap"))
        env = {
            "PATH": "/usr/bin:/bin",
            "HOME": "/nonexistent",
            "DOCKER_HOST": self.made.lab.docker,
            "STS": self.made.sts.url,
            "HOST_KEY": ACCESS_KEY_ID,
            "ROLE": ROLE,
            "BUILDKITE_JOB_ID": f"job-{agent}",
        }
        return Start(command=[script, *self._flags(command, agent)], env=env)

    def alone(self, command: str, agent: int) -> Start:
        """Start `airlock bootstrap` without the service."""
        return Start(command=self._airlock("bootstrap"), env=self._job(command, agent))

    def alone_with_hook(self, command: str, agent: int) -> Start:
        """Start the same after `airlock admit`, as with the agent's pre-bootstrap hook."""
        env = self._job(command, agent)
        return Start(command=self._airlock("bootstrap"), env=env, hook=self._airlock("admit"))

    def service(self, command: str, agent: int) -> Start:
        """Start the launcher, which passes the job to the service."""
        return Start(command=[*self.launcher, "bootstrap"], env=self._job(command, agent))

    def service_with_hook(self, command: str, agent: int) -> Start:
        """Start the same after the launcher's `admit`."""
        env = self._job(command, agent)
        return Start(command=[*self.launcher, "bootstrap"], env=env, hook=[*self.launcher, "admit"])

    def _airlock(self, verb: str) -> list[str]:
        return [*self.python, verb, "--config", str(self.made.config)]

    def _job(self, command: str, agent: int) -> dict[str, str]:
        sent = self.made.env(command, BUILDKITE_AGENT_NAME=f"agent-{agent}")
        file = self.made.base / f"job-env-json-{sent['BUILDKITE_JOB_ID']}1"
        file.write_text(json.dumps(sent))
        return {
            "PATH": "/usr/bin:/bin",
            "BUILDKITE_ENV_JSON_FILE": str(file),
            "BUILDKITE_JOB_ID": sent["BUILDKITE_JOB_ID"],
            "BUILDKITE_AGENT_ACCESS_TOKEN": "bkaj_token",
            "BUILDKITE_BUILD_PATH": str(self.made.base / "builds"),
            "BUILDKITE_PLUGINS_PATH": str(self.made.base / "plugins"),
        }

    def _flags(self, command: str, agent: int) -> list[str]:
        """Return what bootstrap/sandbox/plan.py requests, as flags of `docker run`."""
        uid = FIRST_USER.partition(":")[0]
        owned = f"rw,exec,nosuid,nodev,uid={uid},gid={uid},mode=0700"
        size = 2 << 30
        return [
            "--rm", "--init", "--network", "airlock", "--hostname", "airlock",
            "--label", f"airlock.bench={agent}", "--user", FIRST_USER, "--cap-drop", "ALL",
            "--security-opt", "no-new-privileges:true", "--security-opt", f"seccomp={self.seccomp}",
            "--read-only", "--tmpfs", f"/tmp:rw,exec,nosuid,nodev,mode=1777,size={size}",
            "--tmpfs", f"/home/airlock:{owned},size={size}",
            "--tmpfs", f"/run/buildkite:{owned},size=64m",
            "--cgroupns", "private", "--ipc", "private", "--userns", "host",
            "--shm-size", str(1 << 30),
            "--memory", "2g", "--memory-swap", "2g", "--cpu-shares", "4096",
            "--cpu-period", "100000", "--cpu-quota", "400000", "--pids-limit", "4096",
            "--oom-score-adj", "500", "--ulimit", "nofile=4096:4096", "--ulimit", "core=1:1",
            "--log-driver", "none", "--no-healthcheck", "--stop-signal", "SIGTERM",
            *self._mounts(command, agent), "--workdir", "/builds",
            "--entrypoint", "/bin/sh", self.made.lab.image, "/airlock/entry",
        ]  # fmt: skip

    def _mounts(self, command: str, agent: int) -> list[str]:
        base = self.made.base / f"plain-{agent}"
        if not base.exists():
            for name in ("builds", "plugins"):
                (base / name).mkdir(parents=True)
                os.chown(base / name, int(FIRST_USER.partition(":")[0]), -1)
            (base / "entry").write_text(_ENTRY)
            for name in ("passwd", "group", "resolv.conf"):
                (base / name).write_text(Path("/etc", name).read_text())
        quoted = command.replace("'", "'\\''")
        lines = [f"export V{number}='value'\n" for number in range(60)]
        (base / "env").write_text("".join(lines) + f"export BUILDKITE_COMMAND='{quoted}'\n")
        mounts = {
            "/airlock": base,
            "/opt/airlock/bin/buildkite-agent": self.stub,
            **{f"/etc/{name}": base / name for name in ("passwd", "group", "resolv.conf")},
        }
        writable = {f"/{name}": base / name for name in ("builds", "plugins")}
        form = "type=bind,source={},target={},bind-propagation=rprivate{}"
        return [
            part
            for readonly, paths in ((",readonly", mounts), ("", writable))
            for target, source in paths.items()
            for part in ("--mount", form.format(source, target, readonly))
        ]


def ways(made: Fleet) -> Ways:
    """Have the fleet's jobs get a role and run the script in place of the agent."""
    made.policy(f"  - name: all\n    allow: {{role: '{ROLE}'}}\n")
    stub = made.base / "in-place-of-the-agent"
    stub.write_text(_STUB)
    stub.chmod(0o755)
    seccomp = made.base / "seccomp.json"
    seccomp.write_text(confinement.profile())
    text = made.config.read_text()
    made.config.write_text(
        re.sub("^agent-binary = .*$", f'agent-binary = "{stub}"', text, flags=re.MULTILINE)
    )
    return Ways(made=made, stub=stub, seccomp=seccomp)
