"""Real agents against a control plane: a test's settings of one, and its processes."""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.control_plane import ControlPlane, Job
from tests.fakes.git import GitServer, publish
from tests.fakes.simulator import loopback
from tests.lab.agent import Agent, binary, running_agent, start_command
from tests.lab.engine import eventually


@dataclass(frozen=True, kw_only=True, slots=True)
class RealAgent:
    """The settings of a `buildkite-agent start`, without the test run's environment."""

    name: str = "agent-1"
    bootstrap_script: str = ""  # else the agent's own bootstrap
    pty: bool = True  # False: the log is byte for byte what the job wrote
    tags: tuple[str, ...] = ("queue=default",)
    build_path: Path | None = None
    hooks_path: Path | None = None
    plugins_path: Path | None = None
    cancel_grace_period: int | None = None
    flags: tuple[str, ...] = ()  # further flags of `start`
    as_unit: bool = False  # as the user and under the conditions of tests/lab/unit.py
    env: Mapping[str, str] = field(default_factory=dict)  # beside PATH, HOME and TMPDIR

    @contextmanager
    def running(self, control: ControlPlane, base: Path) -> Iterator[Agent]:
        """Run it below `base` until this closes, then stop it: gracefully, at last with SIGKILL."""
        temporary = base / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        with running_agent(
            base,
            name=self.name,
            control=control,
            bootstrap_script=self.bootstrap_script or own_bootstrap(),
            flags=self._flags(),
            env={"TMPDIR": str(temporary), **self.env},
            as_unit=self.as_unit,
        ) as agent:
            yield agent

    def command(self, control: ControlPlane, base: Path) -> list[str]:
        """Return what starts it as a unit; `base` is a directory that its user can reach."""
        script = self.bootstrap_script or own_bootstrap()
        return start_command(
            base, name=self.name, control=control, bootstrap_script=script,
            flags=self._flags(), as_unit=True,
        )  # fmt: skip

    def _flags(self) -> tuple[str, ...]:
        """Return its flags; later ones override those of every agent of the lab."""
        return (
            *(() if self.pty else ("--no-pty",)),
            *(part for tag in self.tags for part in ("--tags", tag)),
            *_flag("--build-path", self.build_path),
            *_flag("--hooks-path", self.hooks_path),
            *_flag("--plugins-path", self.plugins_path),
            *_flag("--cancel-grace-period", self.cancel_grace_period),
            *self.flags,
        )


def _flag(flag: str, value: object) -> tuple[str, ...]:
    return () if value is None else (flag, str(value))


def own_bootstrap() -> str:
    """Return the bootstrap-script that an agent has by default."""
    return f"{shlex.quote(str(binary()))} bootstrap"


def bootstrap_pid(agent: Agent, job: Job, seconds: float = 30) -> int:
    """Return the process that the agent started for this job, once there is one."""
    found: list[int] = []

    def look() -> bool:
        found.extend(pid for pid in _children(agent.pid) if job_of(pid) == job.id)
        return bool(found)

    eventually(look, f"{agent.name} starts its bootstrap-script for {job.id}", seconds)
    return found[0]


def _children(pid: int) -> list[int]:
    """Return the children of all threads: a Go program forks from any, and they come and go."""
    listed = (_read(path) for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return [int(child) for line in listed for child in line.split()]


def job_of(pid: int) -> str:
    """Return the BUILDKITE_JOB_ID in the environment that this process was started with."""
    prefix = b"BUILDKITE_JOB_ID="
    values = (one for one in _read(Path(f"/proc/{pid}/environ")).split(b"\0"))
    return next((one[len(prefix) :].decode() for one in values if one.startswith(prefix)), "")


def _read(path: Path) -> bytes:
    """Return the content, or nothing if the process has ended meanwhile."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """A repository that a job can check out."""

    url: str
    commit: str


@contextmanager
def native(base: Path, files: Mapping[str, str]) -> Iterator[tuple[ControlPlane, Origin]]:
    """Serve a control plane and one repository on the loopback: all that an agent needs."""
    root = base / "git"
    root.mkdir(parents=True)
    commit = publish(root, "storefront", files)
    with ExitStack() as held:
        git = held.enter_context(GitServer(loopback(), root))
        control = held.enter_context(ControlPlane())
        yield control, Origin(url=f"{git.url}/storefront.git", commit=commit)
