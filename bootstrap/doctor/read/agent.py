"""buildkite-agent as this host has it: its configuration, the launcher, its hooks and its users."""

import grp
import os
import pwd
import shlex
import stat
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from bootstrap.doctor import agent_cfg
from bootstrap.doctor.model import NotKnown, Read, known, unknown
from bootstrap.doctor.read import as_user
from bootstrap.doctor.read.places import Places
from bootstrap.doctor.read.reading import read, text
from bootstrap.doctor.snapshot import Account, Agent, File
from bootstrap.errors import CannotStart
from bootstrap.host.config import Host
from bootstrap.sandbox import agent_paths

LAUNCHER = Path("/usr/libexec/airlock-launcher")
HOOK = "pre-bootstrap"


def agent(host: Read[Host], places: Places) -> Agent:
    """Return the agent of this host."""
    settings = read(partial(_settings, places))
    hooks = partial(_hooks_path, settings, places)
    launcher = partial(launcher_of, settings)
    users = read(partial(_users, host))
    return Agent(
        settings=settings,
        file=read(lambda: file(places.agent_cfg)),
        launcher=read(lambda: file(launcher())),
        launcher_version=read(lambda: _version(launcher(), users)),
        hooks=read(lambda: tuple(sorted(path.name for path in hooks().iterdir()))),
        hook=read(lambda: file(hooks() / HOOK)),
        hook_text=read(lambda: text(hooks() / HOOK)),
        mountable_hooks=read(lambda: _mountable(known(host), hooks(), users)),
        users=users,
        sudoers=tuple(_sudoers(users, places)),
    )


def _settings(places: Places) -> dict[str, str]:
    """Return the settings of buildkite-agent.cfg. Raises NotKnown if there is no such file."""
    try:
        return dict(agent_cfg.parse(text(places.agent_cfg)))
    except FileNotFoundError:
        raise NotKnown(unknown("not known: see the check agent-config")) from None


def launcher_of(settings: Read[Mapping[str, str]]) -> Path:
    """Return the launcher that the agent starts for a job, else its usual place."""
    words = map(Path, shlex.split(known(settings).get("bootstrap-script", "")))
    return next((path for path in words if path.name == LAUNCHER.name), LAUNCHER)


def _hooks_path(settings: Read[Mapping[str, str]], places: Places) -> Path:
    return Path(known(settings).get("hooks-path") or places.agent_cfg.parent / "hooks")


def file(path: Path) -> File | None:
    """Return who owns a file and may write to it, followed to where it really is.

    None if there is no such file. Raises OSError if it cannot be looked at.
    """
    try:
        real = path.resolve(strict=True)
    except FileNotFoundError:
        return None
    status = real.stat()
    above = []
    for directory in real.parents:
        found = directory.stat()
        above.append((directory, found.st_uid, stat.S_IMODE(found.st_mode)))
    mode = stat.S_IMODE(status.st_mode)
    return File(path=real, uid=status.st_uid, mode=mode, above=tuple(above))


def _version(launcher: Path, users: Read[tuple[Account, ...]]) -> str:
    """Return the version of the launcher. Raises CannotStart if it cannot be started."""
    first, *_ = known(users)
    ended = as_user.outcome(first.name, [str(launcher), "--version"], timeout=5.0)
    if ended.status != 0:
        raise CannotStart(
            f"`{launcher} --version` ended with {ended.status} for {first.name}: "
            f"{ended.errors[:200]}",
            hint="Install it again: docs/install.md#on-a-host.",
        )
    return ended.output.partition("\n")[0].removeprefix("airlock-launcher ").strip()


def _users(host: Read[Host]) -> tuple[Account, ...]:
    """Return the users of service.agents that exist: the check of the service has the others."""
    return tuple(_account(name) for name in known(host).service.agents if _exists(name))


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _account(name: str) -> Account:
    user = pwd.getpwnam(name)
    numbers = os.getgrouplist(name, user.pw_gid)
    names = {entry.gr_gid: entry.gr_name for entry in grp.getgrall()}
    groups = frozenset(names.get(number, str(number)) for number in numbers)
    return Account(name=name, uid=user.pw_uid, groups=groups)


def _mountable(host: Host, hooks: Path, users: Read[tuple[Account, ...]]) -> None:
    if host.sandbox.hooks:
        uids = [user.uid for user in known(users)]
        agent_paths.mountable(hooks, "hooks-path", agent_uid=max(uids, default=0))


def _sudoers(users: Read[tuple[Account, ...]], places: Places) -> list[str]:
    """Return the files with rules of sudo that name an agent's user."""
    if not isinstance(users, tuple) or not places.sudoers.is_dir():
        return []
    names = {user.name for user in users}
    found = []
    for path in sorted(places.sudoers.iterdir()):
        content = read(partial(text, path))
        lines = content.splitlines() if isinstance(content, str) else []
        if any(line.split()[:1] and line.split()[0] in names for line in lines):
            found.append(str(path))
    return found
