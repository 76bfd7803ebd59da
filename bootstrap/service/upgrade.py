"""Starting the service anew in its own process, while its workers and its socket stay.

The process keeps its pid, so its children stay its own, and whoever supervises it sees no end.
"""

import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bootstrap.process import ENVIRONMENT
from bootstrap.service import children

VARIABLE = "AIRLOCK_SERVICE_STATE"  # for this process alone: the number of a descriptor
# What systemd passed to the first one. LISTEN_* is not among them: the socket is in the state.
_KEPT = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "INVOCATION_ID", "JOURNAL_STREAM")


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """What the new service takes over: the listener's descriptors, and pid and uid of workers."""

    listener: tuple[int, ...]
    workers: tuple[tuple[int, int], ...]


def check() -> int:
    """Start a process that tries whether the service can start, and return its pid."""
    return children.fork(lambda: _execute([*_command(), "--check"], ENVIRONMENT), ())


def start_anew(state: State, process_env: Mapping[str, str]) -> None:
    """Replace this process's program. Returns only by an OSError."""
    descriptor = os.memfd_create("airlock-service", 0)
    document = {"listener": state.listener, "workers": state.workers}
    os.write(descriptor, json.dumps(document).encode())
    _set_inheritable(state.listener, inheritable=True)
    kept = {name: process_env[name] for name in _KEPT if name in process_env}
    try:
        _execute(_command(), {**ENVIRONMENT, **kept, VARIABLE: str(descriptor)})
    finally:
        _set_inheritable(state.listener, inheritable=False)
        os.close(descriptor)


def taken_over(process_env: Mapping[str, str]) -> State | None:
    """Return the state that the service before this one left; None if there was none."""
    text = process_env.get(VARIABLE)
    if text is None:
        return None
    with os.fdopen(int(text), "rb") as file:
        file.seek(0)
        document: dict[str, Any] = json.load(file)
    return State(
        listener=tuple(document["listener"]),
        workers=tuple((pid, uid) for pid, uid in document["workers"]),
    )


def _execute(argv: list[str], env: Mapping[str, str]) -> None:
    os.execve(sys.executable, argv, env)  # noqa: S606 - a list of arguments, and no job's


def _command() -> list[str]:
    return [sys.executable, *(word for word in sys.orig_argv[1:] if word != "--check")]


def _set_inheritable(descriptors: Iterable[int], *, inheritable: bool) -> None:
    for descriptor in descriptors:
        os.set_inheritable(descriptor, inheritable)
