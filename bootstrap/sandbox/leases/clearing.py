"""Clears everything that one lease names, as far as that is possible at this moment.

Clearing may be repeated, also at the same time. It kills before it asks the engine for anything:
what needs the engine has to wait until that answers.
"""

import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from bootstrap.errors import AirlockError, CannotStart
from bootstrap.host import trash
from bootstrap.host.config import Host
from bootstrap.sandbox import engine
from bootstrap.sandbox.ahead import holder
from bootstrap.sandbox.companions.plan import container_name
from bootstrap.sandbox.leases import builder, first_process
from bootstrap.sandbox.network import firewall
from bootstrap.sandbox.plan import SERVICE_DIRECTORY
from bootstrap.sandbox.workspace import fresh_path

PATIENCE = 10.0  # seconds for one lease
KILL_PATIENCE = 2.0  # seconds, of those, for killed processes to end


def clear(host: Host, token: str, *, patience: float = PATIENCE) -> tuple[AirlockError, ...]:
    """Clear everything that `token` names, the job directory last. Returns the failures.

    Takes about `patience` seconds at most. The processes end first, without the engine. If it does
    not answer, the job directory stays, so that clearing is repeated.
    """
    deadline = time.monotonic() + patience
    directory = host.paths.runtime / "jobs" / token
    later = ExitStack()
    steps: tuple[Callable[[], object], ...] = (
        lambda: _shut_start_gates(directory),
        lambda: first_process.kill(directory, min(KILL_PATIENCE, patience)),
        lambda: first_process.kill(builder.directory_of(directory), min(KILL_PATIENCE, patience)),
        # Before the engine can give the address to another container.
        lambda: firewall.remove_listener(directory, later),
        lambda: _kill_services(directory, min(KILL_PATIENCE, patience)),
        lambda: holder.kill_adopted(directory, min(KILL_PATIENCE, patience)),
        lambda: _remove_containers(host, token, deadline - time.monotonic()),
        # After the holder has ended: until then the address is its own.
        lambda: firewall.release_address(directory),
        lambda: _discard_fresh_workspace(host.paths.state, directory),
    )
    with later:
        problems = [problem for step in steps if (problem := _failure(step))]
    if not problems and (problem := _failure(lambda: trash.remove_tree(directory))):
        problems.append(problem)
    return tuple(problems)


def _failure(step: Callable[[], object]) -> AirlockError | None:
    """Take a step and return its failure: one that fails must not keep the next from its turn."""
    try:
        step()
    except AirlockError as problem:
        return problem
    except (OSError, ValueError, TypeError, KeyError) as broken:  # the last three: a broken record
        return CannotStart(f"{type(broken).__name__}: {broken}", hint="Run `airlock gc`.")
    return None


def _shut_start_gates(directory: Path) -> None:
    """End entry scripts that wait before their gate: those that open it later find none."""
    for gate in directory.glob("*/go"):
        with suppress(FileNotFoundError):
            # A reader that waits for a writer has one, and then reads end-of-file.
            descriptor = os.open(gate, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                gate.unlink()
            finally:
                os.close(descriptor)


def _kill_services(directory: Path, patience: float) -> None:
    """Kill all before waiting for any. Raises CannotStart if one still runs after `patience`."""
    deadline = time.monotonic() + patience
    services = first_process.services(directory)
    for service in services:
        with suppress(CannotStart):
            first_process.kill(service, 0.0)
    for service in services:
        first_process.kill(service, max(0.0, deadline - time.monotonic()))


def _discard_fresh_workspace(state: Path, directory: Path) -> None:
    """Delete it in the background, however large it is: the next job may be clearing this."""
    if any(map(first_process.is_running, (directory, builder.directory_of(directory)))):
        raise CannotStart("its workspace is still in use", hint="Run `airlock gc` later.")
    trash.discard(state, fresh_path(state, directory.name))
    # Also if there was none: its owner may have been killed between these two steps.
    trash.empty_in_background(state)


def _remove_containers(host: Host, token: str, patience: float) -> None:
    """Remove the containers of services, the job's, and then the holders that it has adopted.

    Without a job directory, as after a restart of the machine, what the engine lists by the job.
    """
    if patience <= 0:
        raise CannotStart(
            f"there was no time to remove the container airlock-{token}", hint="Run `airlock gc`."
        )
    deadline = time.monotonic() + patience
    directory = host.paths.runtime / "jobs" / token
    services = first_process.services(directory)
    names = [
        *(container_name(token, path.name.removeprefix(SERVICE_DIRECTORY)) for path in services),
        *([builder.container_name(token)] if builder.has_builder(directory) else []),
        f"airlock-{token}",
        *(holder.container_name(name) for name, _ in holder.adopted_by(directory)),
    ]
    with engine.connected(host.sandbox.docker, timeout=patience) as client:
        if not directory.exists():
            names = list(dict.fromkeys((*engine.names(client, token), *names)))
        for name in names:
            engine.remove(client, name, timeout=deadline - time.monotonic())
