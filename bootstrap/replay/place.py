"""Where one replay keeps its files, and by which names everything of it is found."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootstrap.errors import CannotStart

LABEL = "airlock.replay"  # on everything in the engine that a replay makes: its token
OWNER_LABEL = "airlock.replay-owner"  # and the uid of its user


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """One replay: its own directory, which has what is secret, and that of checkout and plugins."""

    token: str
    directory: Path
    tree: Path

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


def places(process_env: Mapping[str, str], home: Path) -> Places:
    """Return this user's places (XDG base directories), created. Raises CannotStart."""
    state = Path(process_env.get("XDG_STATE_HOME") or home / ".local/state") / "airlock/replay"
    runtime = Path(process_env.get("XDG_RUNTIME_DIR") or state.parent / "run") / "airlock-replay"
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


def _unusable(path: Path, why: str) -> CannotStart:
    return CannotStart(
        f"the directory of replays {path} cannot be used: {why}",
        hint="It has to be this user's alone (mode 0700): remove it, or set XDG_RUNTIME_DIR and "
        "XDG_STATE_HOME to directories of your own.",
    )
