"""The developer's machine, as far as a replay depends on it."""

import math
import os
import pwd
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootstrap import process
from bootstrap.errors import WrongConfiguration
from bootstrap.host.config import Sandbox
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

    `env` is the developer's environment, `terminal` the descriptor of their terminal.
    """

    places: Places
    agent: Path
    region: str
    env: Mapping[str, str]
    terminal: int = 0

    def versions(self, client: "Client") -> dict[str, str]:
        """Return what records call versions, and the agent's. Raises CannotStart."""
        return {
            "kernel": os.uname().release,
            "engine": client.server,
            "agent": self.agent_version(),
        }

    def agent_version(self) -> str:
        """Return the agent's version, as it prints it. Raises CannotStart."""
        printed = process.run([str(self.agent), "--version"])
        found = re.search(r"version (\S+?),? ", f"{printed} ")
        return found[1] if found else printed.strip()


def machine(options: Options, process_env: Mapping[str, str]) -> Machine:
    """Return this machine. Raises WrongConfiguration without an agent, CannotStart as `places`."""
    region = process_env.get("AWS_REGION") or process_env.get("AWS_DEFAULT_REGION") or _REGION
    agent = _agent(options.agent, process_env.get("PATH", os.defpath))
    return Machine(
        places=places(process_env, _home(process_env)),
        agent=agent,
        region=region,
        env=process_env,
    )


def _home(process_env: Mapping[str, str]) -> Path:
    return Path(process_env.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir)


def _agent(named: Path | None, search: str) -> Path:
    found = str(named) if named else shutil.which("buildkite-agent", path=search)
    if found and (path := Path(found).resolve()).is_file() and os.access(path, os.X_OK):
        return path
    raise WrongConfiguration(
        f"there is no program at {named}" if named else "there is no buildkite-agent on PATH",
        hint="The job's bootstrap is buildkite-agent's: download the release that your hosts run "
        "(a single file), and name it with --agent.",
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
    return default.model_copy(
        update={name: min(value, most.get(name, value)) for name, value in recorded.items()}
    )


def _is_limit(name: str, value: Any) -> bool:  # noqa: ANN401 - JSON
    is_number = type(value) is int or (name == "cpus" and type(value) is float)
    return is_number and LEAST[name] <= value < math.inf
