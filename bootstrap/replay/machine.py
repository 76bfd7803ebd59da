"""The developer's machine, as far as a replay depends on it."""

import os
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.host.config import Sandbox
from bootstrap.replay import agent_program
from bootstrap.replay.model import ReplayInput
from bootstrap.replay.options import Options
from bootstrap.replay.place import Places, places

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


def settings(found: ReplayInput, options: Options, image: str) -> Sandbox:
    """Return the sandbox's settings: a host's defaults, and the limits that were recorded."""
    default = Sandbox(image=image, docker=options.docker, dns=options.dns)
    own = {"open_files": own_open_files(default.open_files)}
    return default.model_copy(update={**own, **_limits(found.run.spec if found.run else {})})


def own_open_files(most: int) -> int:
    """Return `most`, or how many files this user may open where that is less.

    An engine without CAP_SYS_RESOURCE, such as one in a container, cannot allow more than it has.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if hard == resource.RLIM_INFINITY else min(most, hard)


def _limits(spec: Mapping[str, object]) -> dict[str, object]:
    names = ("memory", "cpus", "pids", "tmp", "open_files")
    return {name: value for name in names if isinstance(value := spec.get(name), int | float)}
