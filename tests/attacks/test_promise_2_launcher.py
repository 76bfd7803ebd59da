"""Promise 2 with the launcher: no variable of a job acts on a program of the host.

The agent is the real one and has no hook. Each variable is also given to a job whose agent has an
ordinary script as its bootstrap-script, where it has to act.
"""

import base64
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.attacks import loader_traps
from tests.attacks.loader_traps import ACTS, Traps
from tests.fakes.control_plane import Job
from tests.lab import lab as labs
from tests.lab import service
from tests.lab.lab import ROLE, Fleet, Lab

pytestmark = pytest.mark.lab

POLICY = f"  - {{name: all, allow: {{role: '{ROLE}'}}}}\n"
LIBRARY = "left-behind.so"


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """A host with two agents: one starts the launcher, the other an ordinary script."""

    fleet: Fleet
    traps: Traps

    def job(self, agent: str, kind: str) -> Job:
        """Run a job with the variables of this kind on this agent."""
        self.traps.reset()
        variables = self.traps.variables(kind)
        job = self.fleet.control.enqueue(
            self.fleet.env("true", BUILDKITE_AGENT_NAME=agent, **variables)
        )
        self.fleet.control.finished(job, 90)
        return job


@pytest.fixture(scope="module")
def host(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    base = tmp_path_factory.mktemp("host")
    trap = base / "trap"
    loader_traps.compiled(base / LIBRARY, trap / "sprung-library")
    with ExitStack() as held:
        fleet = held.enter_context(labs.fleet(lab, base / "fleet"))
        fleet.policy(POLICY)
        serving = held.enter_context(service.serving(fleet))
        held.enter_context(fleet.agent(bootstrap_script=serving.bootstrap_script))
        library = _left_in_workspace(fleet, base / LIBRARY)
        traps = held.enter_context(loader_traps.traps(trap, library))
        script = loader_traps.script(base / "script", traps)
        held.enter_context(fleet.agent(name="plain", bootstrap_script=script))
        yield Host(fleet=fleet, traps=traps)


def _left_in_workspace(fleet: Fleet, library: Path) -> Path:
    """Let a job write the library into its checkout. Return where it is on the host."""
    encoded = base64.b64encode(library.read_bytes()).decode()
    command = f"echo {encoded} | base64 -d >{LIBRARY}"
    job = fleet.control.enqueue(fleet.env(command, BUILDKITE_AGENT_NAME="agent-1"))
    assert fleet.control.finished(job, 90)[0] == "0", job.log.decode()
    (left,) = (fleet.base / "state").rglob(LIBRARY)
    assert left.read_bytes() == library.read_bytes()
    return left


@pytest.mark.parametrize("kind", ACTS)
def test_variable_has_no_effect_on_the_host(host: Host, kind: str) -> None:
    asked = len(host.fleet.sts.asked)
    job = host.job("agent-1", kind)
    assert host.traps.sprung() == set()
    assert b"checks of its isolation passed" in job.log, job.log.decode()
    assert [request.role for request in host.fleet.sts.asked[asked:]] == [ROLE]


@pytest.mark.parametrize("kind", ACTS)
def test_same_variable_acts_on_an_ordinary_script(host: Host, kind: str) -> None:
    job = host.job("plain", kind)
    assert ACTS[kind] in host.traps.sprung(), job.log.decode()


def test_ordinary_script_springs_nothing_by_itself(host: Host) -> None:
    host.traps.reset()
    job = host.fleet.control.enqueue(host.fleet.env("true", BUILDKITE_AGENT_NAME="plain"))
    host.fleet.control.finished(job, 90)
    assert host.traps.sprung() == set(), job.log.decode()
