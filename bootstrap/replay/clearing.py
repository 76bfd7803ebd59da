"""What a replay leaves on this machine, and who removes it.

The replay itself, however it ends; if it is killed, its reaper, a process that waits for that; if
both are, the next replay of this user. Each finds the same by the replay's token: what the engine
has under a label, and two directories of this user.
"""

import fcntl
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootstrap.errors import AirlockError
from bootstrap.replay.place import LABEL, OWNER_LABEL, Place, Places
from bootstrap.sandbox import engine
from bootstrap.sandbox.model import is_token

if TYPE_CHECKING:
    from bootstrap.sandbox.engine_client import Client

# Seconds, after which the reaper clears again: the engine may still be making what the replay has
# asked for when it was killed.
AGAIN = 3.0
_LOCK = "lock"  # in a replay's own directory: held for as long as it runs


@contextmanager
def held(place: Place, docker: str, *, alert: Callable[[str], object]) -> Iterator[None]:
    """Create the replay's directories, and remove everything of it at the end.

    How the job ended stays what it was, also if that fails: `alert` gets a line then. Call this
    before there are threads: the reaper is a copy of this process.
    """
    with _beginning(place) as lock, _reaper(place, docker, lock, alert):
        yield


@contextmanager
def _beginning(place: Place) -> Iterator[int]:
    """Create the directories, and hold the lock that says that the replay is alive."""
    with ExitStack() as held:
        with _alone(place.directory.parent), place.writing():
            place.directory.mkdir(mode=0o700)
            place.tree.mkdir(mode=0o700)
            lock = held.enter_context((place.directory / _LOCK).open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


@contextmanager
def _alone(runtime: Path) -> Iterator[None]:
    """Begin a replay, or look for dead ones, one at a time: one that begins has no lock yet."""
    directory = os.open(runtime, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


@contextmanager
def _reaper(place: Place, docker: str, lock: int, alert: Callable[[str], object]) -> Iterator[None]:
    alive, mine = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if not child:
        os.close(mine)
        os.close(lock)
        _reap(place, docker, alive)
    os.close(alive)
    try:
        yield
    finally:
        try:
            clear(place, docker)
            os.write(mine, b".")
        except (AirlockError, OSError) as failed:
            alert(f"the replay could not clear up, its reaper tries again: {failed}")
        finally:  # without that byte, the reaper clears
            os.close(mine)
            os.waitpid(child, 0)


def _reap(place: Place, docker: str, alive: int) -> None:
    """Wait for the end of the replay; clear after it unless it has done so. Does not return."""
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nothing, stream)
        if not os.read(alive, 1):
            clear(place, docker)
            time.sleep(AGAIN)
            clear(place, docker)
    finally:
        os._exit(0)


def clear(place: Place, docker: str) -> None:
    """Remove everything of a replay. Raises CannotStart if the engine does not; then files stay."""
    with engine.connected(docker) as client:
        _clear_engine(client, place)
    for path in (place.tree, place.directory):
        remove_tree(path)


def _clear_engine(client: "Client", place: Place) -> None:
    labelled = {"label": [f"{LABEL}={place.token}"]}
    with engine.explained("remove what a replay has left"):
        for container in client.get("/containers/json", all=True, filters=labelled):
            if place.is_named(container):
                engine.remove(client, container["Id"])
        for network in client.get("/networks", filters=labelled):
            with engine.suppress_status(engine.NOT_FOUND):
                client.delete(f"/networks/{network['Id']}")
        for volume in client.get("/volumes", filters=labelled)["Volumes"] or ():
            with engine.suppress_status(engine.NOT_FOUND):
                client.delete(f"/volumes/{volume['Name']}")


def sweep(client: "Client", found: Places, docker: str, *, note: Callable[[str], object]) -> None:
    """Clear after this user's replays that were killed with their reapers; `note` names each."""
    mine = {"label": [f"{OWNER_LABEL}={os.geteuid()}"]}
    with engine.explained("list what replays have left"):
        things = (
            *client.get("/containers/json", all=True, filters=mine),
            *client.get("/networks", filters=mine),
        )
    tokens = {token for thing in things if (token := _token_of(thing, found))}
    tokens |= {path.name for root in (found.runtime, found.state) for path in root.iterdir()}
    with _alone(found.runtime):
        dead = [place for place in map(found.place, sorted(tokens)) if _is_dead(place)]
    for place in dead:
        with suppress(AirlockError, OSError):  # the next one tries again
            clear(place, docker)
            note(f"cleared after the replay {place.token}, which was killed")


def _token_of(thing: Mapping[str, Any], places: Places) -> str | None:
    """Return the token in the label of what a replay has made, which also has its name.

    A container that someone else made has the labels of its image: a token there could be a path.
    """
    token = str(thing["Labels"].get(LABEL, ""))
    return token if is_token(token) and places.place(token).is_named(thing) else None


def _is_dead(place: Place) -> bool:
    try:
        descriptor = os.open(place.directory / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def remove_tree(path: Path) -> None:
    """Remove a tree of this user's, also what a job has made unwritable. Raises OSError."""
    with suppress(OSError):
        shutil.rmtree(path)
    if not path.exists():
        return
    path.chmod(0o700)
    for directory, names, _ in os.walk(path):
        for name in names:
            if not (below := Path(directory, name)).is_symlink():
                below.chmod(0o700)
    shutil.rmtree(path)
