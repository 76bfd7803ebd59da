"""Where one replay keeps its files, and by which names everything of it is found."""

import os
import pwd
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootstrap.errors import CannotStart, WrongConfiguration

LABEL = "airlock.replay"  # on everything in the engine that a replay makes: its token
OWNER_LABEL = "airlock.replay-owner"  # and the uid of its user


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """One replay: its own directory, which has what is secret, and that of checkout and plugins."""

    token: str
    directory: Path
    tree: Path

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Within this, a file of this replay that cannot be written raises CannotStart."""
        try:
            yield
        except OSError as failed:
            mine = (self.directory, self.tree)
            if failed.filename is None or not any(map(Path(failed.filename).is_relative_to, mine)):
                raise
            raise CannotStart(
                f"the replay's own files cannot be written: {failed}",
                hint="It needs some space there, or other places: XDG_RUNTIME_DIR (a MiB) and "
                "XDG_STATE_HOME (the checkout).",
            ) from failed

    @property
    def name(self) -> str:
        """What is in the engine has this name."""
        return f"airlock-replay-{self.token}"

    @property
    def labels(self) -> Mapping[str, str]:
        """What is in the engine has these labels."""
        return {LABEL: self.token, OWNER_LABEL: str(os.geteuid())}

    def is_named(self, thing: Mapping[str, Any]) -> bool:
        """Return whether the engine's container or network has a name that a replay gives it.

        Its labels do not tell: containers inherit those of their images.
        """
        names = thing.get("Names") or [thing.get("Name", "")]
        return any(str(name).lstrip("/").startswith(self.name) for name in names)


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Where replays of this user keep their files: `runtime` in memory if there is such a place."""

    runtime: Path
    state: Path

    def place(self, token: str) -> Place:
        """Return the place of one replay."""
        return Place(token=token, directory=self.runtime / token, tree=self.state / token)


def places(process_env: Mapping[str, str]) -> Places:
    """Return this user's places (XDG base directories), created.

    Raises CannotStart, and WrongConfiguration if there is no home directory.
    """
    state = (_named("XDG_STATE_HOME", process_env) or _home(process_env) / ".local/state") / (
        "airlock/replay"
    )
    runtime = (_named("XDG_RUNTIME_DIR", process_env) or state.parent / "run") / "airlock-replay"
    found = Places(runtime=runtime, state=state)
    for path in (found.runtime, found.state):
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = path.stat(follow_symlinks=False)
        except OSError as refused:
            raise _unusable(path, refused.strerror or "") from refused
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise _unusable(path, f"it belongs to uid {status.st_uid}, or others may enter it")
    return found


def _named(variable: str, process_env: Mapping[str, str]) -> Path | None:
    """Return the directory that a variable names; as XDG says, a relative one does not count."""
    path = Path(process_env.get(variable, ""))
    return path if path.is_absolute() else None


def _home(process_env: Mapping[str, str]) -> Path:
    if home := _named("HOME", process_env):
        return home
    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        raise WrongConfiguration(
            f"uid {os.geteuid()} has no home directory: it is no user of this machine, and HOME is "
            "not set",
            hint="Set HOME, or XDG_STATE_HOME, to a directory of this user's.",
        ) from None


def _unusable(path: Path, why: str) -> CannotStart:
    return CannotStart(
        f"the directory of replays {path} cannot be used: {why}",
        hint="It has to be this user's alone (mode 0700): remove it, or set XDG_RUNTIME_DIR and "
        "XDG_STATE_HOME to directories of your own.",
    )
