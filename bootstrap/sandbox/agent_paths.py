"""Paths of this host that the agent names and that jobs get to see: its binary and its hooks.

The agent's user chooses them, and root mounts them. So where the agent is not root, a container may
see no more through them than that user does, and nobody may exchange them between check and mount.
"""

import os
import stat
from dataclasses import replace
from pathlib import Path

from bootstrap.errors import WrongConfiguration
from bootstrap.host.config import Sandbox
from bootstrap.job.model import Agent
from bootstrap.sandbox.agent_settings import MORE_HOOKS

HOOKS = "BUILDKITE_HOOKS_PATH"
# No hooks are there, but sockets of the host's services, which jobs must not reach, and processes.
_OF_SERVICES = tuple(map(Path, ("/dev", "/proc", "/run", "/sys")))


def checked(agent: Agent, sandbox: Sandbox) -> Agent:
    """Return the agent with the paths that its hooks really have. Raises WrongConfiguration.

    Only with sandbox.hooks are they for jobs.
    """
    listed = {HOOKS: "hooks-path", MORE_HOOKS: "additional-hooks-paths"}
    if not sandbox.hooks:
        return replace(agent, values={n: v for n, v in agent.values.items() if n != MORE_HOOKS})
    found = {
        name: ",".join(
            str(mountable(Path(path), setting, agent_uid=agent.uid))
            for path in agent.values[name].split(",")
            if path
        )
        for name, setting in listed.items()
        if agent.values.get(name)
    }
    return replace(agent, values={**agent.values, **found})


def binary(agent: Agent, sandbox: Sandbox) -> Path:
    """Return the host's own agent, so that outside and inside are always of one version.

    Raises WrongConfiguration.
    """
    directory = Path(agent.values.get("BUILDKITE_BIN_PATH", "/usr/bin"))
    path = (sandbox.agent_binary or directory / "buildkite-agent").resolve()
    if not path.is_file():
        raise WrongConfiguration(
            f"there is no buildkite-agent at {path}",
            hint="Set sandbox.agent-binary in airlock.toml to the agent's binary on this host.",
        )
    if sandbox.agent_binary:
        return path
    return mountable(path, "the agent's own binary", agent_uid=agent.uid)


def mountable(path: Path, setting: str, *, agent_uid: int) -> Path:
    """Return what to mount for a path of the agent's. Raises WrongConfiguration.

    Jobs have to be able to read it: their bootstrap takes a directory of hooks that it cannot read
    for one without hooks.
    """
    resolved = path.resolve()
    try:
        wrong = _wrong(resolved, os.stat(resolved), strict=agent_uid != 0)  # noqa: PTH116
    except OSError as failed:
        wrong = failed.strerror or str(failed)
    if not wrong:
        return resolved
    raise WrongConfiguration(
        f"{setting} is {path}, which jobs cannot use: {wrong}",
        hint="Jobs have users of their own: they need r-x there (chmod o+rx). Where the agent is "
        "not root, all directories above have to be root's, writable by nobody else, and open to "
        "all, such as /etc/buildkite-agent/hooks.",
    )


def _wrong(path: Path, found: os.stat_result, *, strict: bool) -> str:
    if found.st_mode & 0o005 != 0o005:
        return f"its mode is {stat.S_IMODE(found.st_mode):04o}"
    if not strict:
        return ""
    if any(path.is_relative_to(one) or one.is_relative_to(path) for one in _OF_SERVICES):
        return f"in it are {', '.join(map(str, _OF_SERVICES))}, or it is in one of them"
    if found.st_mode & 0o002:
        return f"anybody may write to it: its mode is {stat.S_IMODE(found.st_mode):04o}"
    for above in path.parents:
        status = above.stat(follow_symlinks=False)
        mode = stat.S_IMODE(status.st_mode)
        if status.st_uid != 0 or mode & 0o022 or not mode & 0o001:
            return f"{above} belongs to uid {status.st_uid} with mode {mode:04o}"
    return ""
