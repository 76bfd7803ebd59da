"""What a replay leaves on this machine, and who removes it.

The replay itself, however it ends; if it is killed, its reaper, a process that waits for that; if
both are, the next replay of this user. Each finds the same by the replay's token: what the engine
has under a label, and two directories of this user.
"""

import fcntl
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.errors import AirlockError, CannotStart
from bootstrap.replay.network import LABEL, OWNER_LABEL
from bootstrap.sandbox import engine

if TYPE_CHECKING:
    from bootstrap.sandbox.engine_client import Client

_LOCK = "lock"  # in a replay's own directory: held for as long as it runs


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Where replays of this user keep their files: `runtime` in memory if there is such a place."""

    runtime: Path
    state: Path

    def directory(self, token: str) -> Path:
        """Return a replay's own directory, which also has what is secret."""
        return self.runtime / token

    def workspace(self, token: str) -> Path:
        """Return where its checkout and plugins are."""
        return self.state / token


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


@contextmanager
def held(found: Places, docker: str, token: str) -> Iterator[None]:
    """Create the replay's directories, and remove everything of it at the end.

    Call it before there are threads: the reaper is a copy of this process.
    """
    found.directory(token).mkdir(mode=0o700)
    found.workspace(token).mkdir(mode=0o700)
    with (found.directory(token) / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with _reaper(found, docker, token, lock.fileno()):
            yield


@contextmanager
def _reaper(found: Places, docker: str, token: str, lock: int) -> Iterator[None]:
    alive, mine = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if not child:
        os.close(mine)
        os.close(lock)
        _reap(found, docker, token, alive)
    os.close(alive)
    try:
        yield
    finally:
        try:
            clear(found, docker, token)
            os.write(mine, b".")
        finally:  # without that byte, the reaper tries once more
            os.close(mine)
            os.waitpid(child, 0)


def _reap(found: Places, docker: str, token: str, alive: int) -> None:
    """Wait for the end of the replay; clear after it unless it has done so. Does not return."""
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nothing, stream)
        if not os.read(alive, 1):
            clear(found, docker, token)
    finally:
        os._exit(0)


def clear(found: Places, docker: str, token: str) -> None:
    """Remove everything of a replay. Raises CannotStart if the engine does not; then files stay."""
    with engine.connected(docker) as client:
        _clear_engine(client, token)
    for path in (found.workspace(token), found.directory(token)):
        remove_tree(path)


def _clear_engine(client: "Client", token: str) -> None:
    labelled = {"label": [f"{LABEL}={token}"]}
    with engine.explained("remove what a replay has left"):
        for container in client.get("/containers/json", all=True, filters=labelled):
            engine.remove(client, container["Id"])
        for network in client.get("/networks", filters=labelled):
            with engine.suppress_status(engine.NOT_FOUND):
                client.delete(f"/networks/{network['Id']}")
        for volume in client.get("/volumes", filters=labelled)["Volumes"] or ():
            with engine.suppress_status(engine.NOT_FOUND):
                client.delete(f"/volumes/{volume['Name']}")


def sweep(client: "Client", found: Places, docker: str) -> tuple[str, ...]:
    """Clear after this user's replays that were killed with their reapers; return their tokens."""
    mine = {"label": [f"{OWNER_LABEL}={os.geteuid()}"]}
    with engine.explained("list what replays have left"):
        things = (
            *client.get("/containers/json", all=True, filters=mine),
            *client.get("/networks", filters=mine),
        )
    tokens = {str(thing["Labels"][LABEL]) for thing in things}
    tokens |= {path.name for root in (found.runtime, found.state) for path in root.iterdir()}
    dead = tuple(sorted(token for token in tokens if not _runs(found, token)))
    for token in dead:
        with suppress(AirlockError, OSError):  # the next one tries again
            clear(found, docker, token)
    return dead


def _runs(found: Places, token: str) -> bool:
    try:
        descriptor = os.open(found.directory(token) / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def remove_tree(path: Path) -> None:
    """Remove a tree of this user's, also what a job has made unwritable. Raises OSError."""
    with suppress(OSError):
        shutil.rmtree(path)
    if not path.exists():
        return
    for directory, _, _ in os.walk(path):
        Path(directory).chmod(0o700)
    shutil.rmtree(path)
