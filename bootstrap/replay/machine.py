"""The developer's machine, as far as a replay depends on it."""

import math
import os
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootstrap.errors import WrongConfiguration
from bootstrap.host.config import Sandbox
from bootstrap.replay import agent_program
from bootstrap.replay.model import ReplayInput
from bootstrap.replay.options import Options
from bootstrap.replay.place import Places, places
from bootstrap.text import printable

if TYPE_CHECKING:
    from bootstrap.sandbox.engine_client import Client

_REGION = "us-east-1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Where this user's files are, the buildkite-agent to run, and the region of AWS clients.

    `agent_version` is what that agent says. `env` is the developer's environment, `terminal` the
    descriptor of their terminal.
    """

    places: Places
    agent: Path
    agent_version: str
    region: str
    env: Mapping[str, str]
    terminal: int = 0

    def versions(self, client: "Client") -> dict[str, str]:
        """Return what records call versions, and the agent's."""
        return {
            "kernel": os.uname().release,
            "engine": client.server,
            "agent": self.agent_version,
        }


def machine(options: Options, process_env: Mapping[str, str]) -> Machine:
    """Return this machine.

    Raises WrongConfiguration without an agent or a home, and CannotStart as `places`.
    """
    region = process_env.get("AWS_REGION") or process_env.get("AWS_DEFAULT_REGION") or _REGION
    agent = agent_program.found(options.agent, process_env.get("PATH", os.defpath))
    return Machine(
        places=places(process_env),
        agent=agent,
        agent_version=agent_program.version(agent),
        region=region,
        env=process_env,
    )


# The least that airlock.toml may have (host/config.py).
LEAST: Mapping[str, float] = {
    "memory": 6 << 20, "cpus": 0.01, "pids": 64, "tmp": 1, "open_files": 1024
}  # fmt: skip


def settings(found: ReplayInput, options: Options, image: str) -> Sandbox:
    """Return the sandbox's settings: a host's defaults, and the limits that were recorded.

    Of memory and processors a job gets no more than this machine has, or a host by default.
    Raises WrongConfiguration for what limits nothing, as 0 and -1 do for the engine.
    """
    default = Sandbox(image=image, docker=options.docker, dns=options.dns)
    own = {"open_files": own_open_files(default.open_files)}
    return default.model_copy(update={**own, **_recorded(found, default)})


def own_open_files(most: int) -> int:
    """Return `most`, or how many files this user may open where that is less.

    An engine without CAP_SYS_RESOURCE, such as one in a container, cannot allow more than it has.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if hard == resource.RLIM_INFINITY else min(most, hard)


def _recorded(found: ReplayInput, default: Sandbox) -> dict[str, Any]:
    spec = found.run.spec if found.run else {}
    recorded: dict[str, Any] = {name: spec[name] for name in LEAST if name in spec}
    if wrong := [name for name, value in recorded.items() if not _is_limit(name, value)]:
        raise WrongConfiguration(
            printable(f"{found.source} limits {wrong[0]} to {recorded[wrong[0]]!r}"),
            hint=f"Expected a number of at least {LEAST[wrong[0]]}, as every host writes it. Who "
            "made this record?",
        )
    there_is = {
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "cpus": os.cpu_count() or 1,
    }
    most = {name: max(amount, getattr(default, name)) for name, amount in there_is.items()}
    return {name: min(value, most.get(name, value)) for name, value in recorded.items()}


def _is_limit(name: str, value: Any) -> bool:  # noqa: ANN401 - JSON
    is_number = type(value) is int or (name == "cpus" and type(value) is float)
    return is_number and LEAST[name] <= value < math.inf
