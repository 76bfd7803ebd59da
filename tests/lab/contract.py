"""What a job sees and leaves behind, whatever runs it: one table for native jobs and sandboxes.

A suite makes a `Site` (a control plane and two agents with one bootstrap-script), runs every case
of `contract_cases.CASES` on it and calls `Case.verify` with the result. What the agent's own
bootstrap does, Airlock does too; a case in which they have to differ does not belong here.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.fakes.control_plane import ControlPlane, Job, JobOrder, JobResult, job_env
from tests.lab.fleet import Origin, RealAgent

Ending = tuple[str, str, str]

PRE_EXIT = """#!/bin/bash
echo "pre-exit: cancelled=${BUILDKITE_JOB_CANCELLED:-no} timed-out=${BUILDKITE_JOB_TIMED_OUT:-no}"
exit "${CONTRACT_PRE_EXIT:-0}"
"""
REPOSITORY: Mapping[str, str] = {
    "README.md": "a storefront\n",
    "script": "#!/bin/sh\necho a script of the repository\n",
    ".buildkite/hooks/pre-exit": PRE_EXIT,
    ".buildkite/hooks/pre-command": "export CONTRACT_FROM_HOOK='two\nlines'\n",
}


def _nothing(_: JobResult) -> None:
    """For cases without a further check."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One job and what must become of it."""

    name: str
    command: str
    ending: Ending = ("0", "", "")
    env: Mapping[str, str] = field(default_factory=dict)
    pty: bool = True
    seen: bytes = b""  # once this is a line of the log ...
    then: Callable[[ControlPlane, Job], None] | None = None  # ... this happens
    shows: tuple[bytes, ...] = ()  # the log has these
    hides: tuple[bytes, ...] = ()  # the log has none of these
    check: Callable[[JobResult], None] = _nothing

    def verify(self, result: JobResult) -> None:
        """Fail, with the log, unless everything is as expected."""
        log = result.log.decode(errors="replace")[-6000:]
        assert result.ending == self.ending, f"{result.ending} instead of {self.ending}:\n{log}"
        assert result.chunks_failed == 0
        for text in self.shows:
            assert text in result.log, f"not in the log: {text!r}\n{log}"
        for text in self.hides:
            assert text not in result.log, f"in the log: {text!r}\n{log}"
        self.check(result)


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """A way to run a job and get its result."""

    control: ControlPlane
    origin: Origin
    pty: str  # names of the two agents
    plain: str

    def run(self, case: Case, seconds: float = 120) -> JobResult:
        """Run the case's job to its end."""
        job = self.start(case)
        if case.then is not None:
            line = re.compile(rb"(^|\n)" + re.escape(case.seen) + rb"\r*\n")
            self.control.wait(job, lambda j: line.search(j.log) or j.finish, seconds)
            case.then(self.control, job)
        return self.control.completed(job, seconds)

    def start(self, case: Case) -> Job:
        """Give the case's job to the agent that it needs."""
        agent = self.pty if case.pty else self.plain
        env = job_env(
            case.command,
            repository=self.origin.url,
            commit=self.origin.commit,
            agent=agent,
            overrides=case.env,
        )
        return self.control.enqueue(JobOrder(env=env, agent=agent))


Start = Callable[[RealAgent, ControlPlane, Path], AbstractContextManager[object]]


@contextmanager
def site(
    control: ControlPlane,
    origin: Origin,
    base: Path,
    agent: RealAgent,
    start: Start = RealAgent.running,
) -> Iterator[Site]:
    """Run two agents like `agent`, one with a PTY and one without."""
    control.secrets["CONTRACT"] = "a secret of the cluster"
    names = {True: f"{agent.name}-pty", False: f"{agent.name}-plain"}
    with ExitStack() as held:
        for pty, name in names.items():
            # A checkout that fails is tried six times by default, over half a minute.
            flags = (*agent.flags, "--checkout-attempts", "1")
            one = replace(agent, name=name, pty=pty, flags=flags)
            held.enter_context(start(one, control, base / name))
        yield Site(control=control, origin=origin, pty=names[True], plain=names[False])
