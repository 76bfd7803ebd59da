"""The ways in which a host can have Airlock run its agents' jobs, and a site for each."""

import shlex
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.fakes.control_plane import Job, JobOrder, JobResult
from tests.fakes.git import publish
from tests.lab import launcher, systemd, unit, users
from tests.lab.contract import REPOSITORY, Site, site
from tests.lab.fleet import Origin, RealAgent
from tests.lab.lab import Fleet, Lab, fleet
from tests.lab.remapped import remapped
from tests.lab.service import Serving, serving


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """`service`: agents have a user of their own and start the launcher; else all is root's.

    `units`: systemd starts the service and the agents, where it is the init process.
    """

    name: str
    service: bool = True
    units: bool = False
    remapped: bool = False  # Docker maps the users of containers


ALONE = Way(name="alone", service=False)
SERVICE = Way(name="service")
REMAPPED = Way(name="service-userns-remap", remapped=True)
UNITS = Way(name="units", units=True)
UNITS_REMAPPED = Way(name="units-userns-remap", units=True, remapped=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """A fleet and what its agents need; `service` is None if the tests do not start it."""

    fleet: Fleet
    base: Path  # of the agents
    agent: RealAgent
    service: Serving | None

    @contextmanager
    def working(self) -> Iterator["Host"]:
        """Run one agent, `agent-1`."""
        agent = replace(self.agent, name="agent-1")
        with agent.running(self.fleet.control, self.base / "agent-1"):
            yield self

    def done(self, command: str, **env: str) -> tuple[Job, JobResult]:
        """Have that agent run a job, and return this once it has ended."""
        sent = self.fleet.env(command, BUILDKITE_AGENT_NAME="agent-1", **env)
        job = self.fleet.control.enqueue(JobOrder(env=sent, agent="agent-1"))
        return job, self.fleet.control.completed(job)


@contextmanager
def host(lab: Lab, way: Way, base: Path, *, settings: str = "") -> Iterator[Host]:
    """Run what a host has of Airlock: a fleet, and the service if this way has it."""
    with ExitStack() as held:
        if way.remapped:
            lab = held.enter_context(remapped(lab))
        made = held.enter_context(fleet(lab, base / "fleet", settings=settings))
        if not way.service:
            agent = RealAgent(name=way.name, bootstrap_script=made.bootstrap_script)
            yield Host(fleet=made, base=base / "agents", agent=agent, service=None)
            return
        reachable = held.enter_context(unit.directory())
        if way.units:
            held.enter_context(systemd.airlock(made, users.NAME))
            script = shlex.quote(str(systemd.copied_launcher(reachable)))
            agent = RealAgent(name=way.name, bootstrap_script=script)
            yield Host(fleet=made, base=reachable, agent=agent, service=None)
            return
        agents = f'agents = ["{users.NAME}"]\n'
        service = held.enter_context(serving(made, agents, socket=reachable / "airlock.sock"))
        yield Host(
            fleet=made, base=reachable, agent=_unit(way, service, reachable), service=service
        )


def _unit(way: Way, service: Serving, reachable: Path) -> RealAgent:
    """Return an agent as its unit starts it, with a launcher that its user can reach."""
    program = reachable / "airlock-launcher"
    shutil.copy(launcher.binary(), program)
    script = shlex.join([str(program), "--socket", str(service.socket)])
    return RealAgent(name=way.name, bootstrap_script=script, as_unit=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sandboxed:
    """A site whose agents have Airlock run their jobs, and its host."""

    host: Host
    site: Site


@contextmanager
def sandboxed(lab: Lab, way: Way, base: Path) -> Iterator[Sandboxed]:
    """Run two agents in this way, for the cases of the contract."""
    with host(lab, way, base) as made:
        commit = publish(made.fleet.base / "git", "contract", REPOSITORY)
        origin = Origin(url=f"{made.fleet.git.url}/contract.git", commit=commit)
        rules = "  - {name: all, when: {pull-request: any}, allow: {}}\n"
        made.fleet.policy(rules, repository=origin.url)
        start = systemd.agent_unit if way.units else RealAgent.running
        with site(made.fleet.control, origin, made.base, made.agent, start) as running:
            yield Sandboxed(host=made, site=running)
