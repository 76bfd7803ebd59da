"""The seccomp profile of every container, and the check that the kernel enforces it.

An engine may be built without seccomp, and a runtime may ignore the profile. So the state of the
processes that wait in the container is read from /proc of this host, before the job's code runs.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import resources
from pathlib import Path

from bootstrap.errors import CannotStart
from bootstrap.sandbox.proof import Probe

PATIENCE = 10.0  # seconds for the entry script to appear beside the container's first process
_NONE = "0" * 16
# proc(5), /proc/pid/status. None of these can be undone by the process itself or its children.
EXPECTED: Mapping[str, str] = {
    "NoNewPrivs": "1",
    "Seccomp": "2",  # a filter
    "CapInh": _NONE,
    "CapPrm": _NONE,
    "CapEff": _NONE,
    "CapBnd": _NONE,
    "CapAmb": _NONE,
}


def profile() -> str:
    """Return the seccomp profile as the Engine API expects it: its JSON on one line."""
    text = resources.files("bootstrap.sandbox").joinpath("seccomp.json").read_text()
    return json.dumps(json.loads(text), separators=(",", ":"))


def check(pid: int, runtime: str) -> tuple[Probe, ...]:
    """Check every process of the container whose first one is `pid`: EXPECTED has to hold for each.

    Waits for the entry script, which then waits at the start gate. Raises CannotStart.
    """
    members = _with_entry(pid, runtime)
    wrong = [f"process {member}: {why}" for member in members for why in _wrong(member)]
    if wrong:
        raise _unconfined("; ".join(wrong[:4]), runtime)
    outcome = ", ".join(f"{name} {value}" for name, value in EXPECTED.items() if value != _NONE)
    return (Probe(target="processes", outcome=f"{outcome}, no capability", passed=True),)


def _with_entry(pid: int, runtime: str) -> tuple[int, ...]:
    """Wait for the entry script: before it runs, the filter may not be loaded either."""
    deadline = time.monotonic() + PATIENCE
    while len(members := tuple(_members(pid))) < 2:
        if time.monotonic() > deadline:
            raise _unconfined(
                "its entry script did not appear among the processes of this host", runtime
            )
        time.sleep(0.005)
    return members


def _members(pid: int) -> Iterator[int]:
    """Yield the processes in the PID namespace of `pid`, by their numbers on this host."""
    with suppress(OSError):  # it has ended, and all others with it
        namespace = Path(f"/proc/{pid}/ns/pid").readlink()
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (path / "ns/pid").readlink() == namespace:
                    yield int(path.name)


def _wrong(pid: int) -> list[str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError as gone:
        return [f"its status cannot be read: {gone.strerror}"]
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return [
        f"{name}: expected {expected}, got {status.get(name, 'nothing')}"
        for name, expected in EXPECTED.items()
        if status.get(name) != expected
    ]


def _unconfined(why: str, runtime: str) -> CannotStart:
    return CannotStart(
        f"the container is not confined: {why}",
        hint="Nothing of the job has run. `docker info` has to list seccomp under Security "
        f"Options, and sandbox.runtime, now {runtime!r}, has to run processes on this host's "
        "kernel, as runc and crun do and runsc does not.",
    )
