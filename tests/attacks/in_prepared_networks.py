"""A fleet whose jobs adopt prepared networks, for attacks from inside one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from tests.attacks.attacker import Attacker
from tests.lab import agent, prepared
from tests.lab.lab import Fleet, Lab
from tests.lab.lab import fleet as a_fleet
from tests.lab.leftovers import RUNTIME
from tests.lab.service import Serving, serving


@dataclass(frozen=True, kw_only=True, slots=True)
class Served(Fleet):
    """A fleet whose agents start the launcher, each when a network is ready."""

    service: Serving

    @contextmanager
    def agent(self, *flags: str, name: str = "agent-1", **how: object) -> Iterator[agent.Agent]:
        prepared.wait_for(3)
        script = how.pop("bootstrap_script", self.service.bootstrap_script)
        with Fleet.agent(self, *flags, name=name, bootstrap_script=script, **how) as running:
            yield running


@contextmanager
def served(lab: Lab, base: Path, *, settings: str = "") -> Iterator[Served]:
    with a_fleet(lab, base, settings=settings) as made:
        with serving(made, "networks-ahead = 3") as service:
            own = {field.name: getattr(made, field.name) for field in fields(made)}
            yield Served(**own, service=service)
        prepared.forget(made)


def holder_of(sandbox: Attacker) -> Path:
    """Return the directory of the holder that the attacker's job has adopted."""
    label = sandbox._inspect('{{index .Config.Labels "airlock.job"}}')  # noqa: SLF001
    (found,) = (RUNTIME / "jobs" / label).glob("network-*")
    return found
