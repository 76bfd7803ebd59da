"""The profiles of every container, seccomp's and AppArmor's, and the check that they are enforced.

An engine may be built without seccomp, and a runtime may ignore a profile. So the state of the
processes that wait in the container is read from /proc of this host, before the job's code runs.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from bootstrap import packaged
from bootstrap.errors import CannotStart
from bootstrap.sandbox.proof import Probe

PATIENCE = 10.0  # seconds for the entry script to appear beside the container's first process
POLL = 0.001  # seconds between two looks for it
# Where distributions mount the hierarchy without controllers (version 2), and one of version 1.
_CONTROL_GROUPS = {
    "": (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")),
    "pids": (Path("/sys/fs/cgroup/pids"),),
}
APPARMOR = "docker-default"  # every engine that uses AppArmor loads it
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
# Of a builder's program in its user namespace, where it has every capability.
EXPECTED_OF_BUILDERS = {name: EXPECTED[name] for name in ("NoNewPrivs", "Seccomp")}


@cache
def profile() -> str:
    """Return the seccomp profile as the Engine API expects it: its JSON on one line.

    Kept, and without the comments: to parse it takes a quarter of a MiB (docs/service.md#memory).
    """
    parsed = json.loads(packaged.text("bootstrap.sandbox", "seccomp.json"))
    for rule in parsed["syscalls"]:
        rule.pop("comment", None)
    return json.dumps(parsed, separators=(",", ":"))


def has_apparmor(enabled: Path = Path("/sys/module/apparmor/parameters/enabled")) -> bool:
    """Say whether this host's kernel has AppArmor enabled."""
    try:
        return enabled.read_text().strip() == "Y"
    except OSError:
        return False


def apparmor_profile(security_options: Sequence[str]) -> str | None:
    """Return the profile to ask the engine for; None if its Security Options have no AppArmor.

    Then it applies no profile either, for example because the host lacks apparmor_parser.
    """
    names = {option.partition(",")[0] for option in security_options}
    return APPARMOR if "name=apparmor" in names else None


def check(
    pid: int,
    runtime: str,
    apparmor: str | None = None,
    *,
    has_ended: Callable[[], bool] = lambda: False,
) -> tuple[Probe, ...]:
    """Check every process of the container whose first one is `pid`: EXPECTED has to hold for each.

    With `apparmor`, that profile has to be enforced for each too. Waits for the entry script, which
    then waits at the start gate; `has_ended` says whether the container may have ended instead.
    Raises CannotStart.
    """
    found = _with_entry(pid, runtime, apparmor, has_ended)
    wrong = [f"process {member}: {why}" for member, whys in found.items() for why in whys]
    if wrong:
        raise unconfined("; ".join(wrong[:4]), runtime)
    outcome = ", ".join(f"{name} {value}" for name, value in EXPECTED.items() if value != _NONE)
    return (
        Probe(target="processes", outcome=f"{outcome}, no capability", passed=True),
        Probe(target="AppArmor", outcome=apparmor or "not used by this host's engine", passed=True),
    )


def wrong_label(process: Path, profile: str) -> str:
    """Return why the process at /proc/PID is not confined by the AppArmor profile, or ""."""
    expected = f"{profile} (enforce)"
    # The second is the same on kernels older than 5.8, where another security module may own it.
    for attribute in ("attr/apparmor/current", "attr/current"):
        try:
            label = (process / attribute).read_text().strip("\0\n ")
        except OSError:
            continue
        return (
            "" if label == expected else f"AppArmor: expected {expected}, got {label or 'no label'}"
        )
    return f"AppArmor: expected {expected}, but the label cannot be read"


def _with_entry(
    pid: int, runtime: str, apparmor: str | None, has_ended: Callable[[], bool]
) -> dict[int, list[str]]:
    """Return what is wrong with each process, once there are two: the second is the entry script.

    Before that runs, the filter may not be loaded either.
    """
    deadline = time.monotonic() + PATIENCE
    while len(found := _judged(tuple(members(pid)), apparmor)) < 2:
        if has_ended():
            return {}
        if time.monotonic() > deadline:
            raise unconfined(
                "its entry script did not appear among the processes of this host", runtime
            )
        time.sleep(POLL)
    return found


def _judged(processes: tuple[int, ...], apparmor: str | None) -> dict[int, list[str]]:
    """Leave out those that have ended meanwhile: the program of a service may start many."""
    judged = {}
    for process in processes:
        with suppress(FileNotFoundError, ProcessLookupError):
            judged[process] = _wrong(process, apparmor)
    return judged


def members(pid: int) -> Iterator[int]:
    """Yield the processes in the PID namespace of `pid`, by their numbers on this host."""
    with suppress(OSError):  # it has ended, and all others with it
        namespace = _namespace(pid)
        for other in of_its_control_group(pid) or _of_this_host():
            with suppress(OSError):
                if _namespace(other) == namespace:
                    yield other


def _namespace(pid: int) -> Path:
    return Path(f"/proc/{pid}/ns/pid").readlink()


def _of_this_host() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def of_its_control_group(pid: int) -> list[int]:
    """Return the processes in the control group of `pid`; none if it has none of its own.

    The engine makes one for each container, and nothing in that has run yet, so all are in it. It
    saves a look at each process of this host.
    """
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if path == "/":
            continue
        for root in _CONTROL_GROUPS.get(controllers, ()):
            with suppress(OSError):
                members = (root / path[1:] / "cgroup.procs").read_text()
                found = [int(number) for number in members.split()]
                if pid in found:
                    return found
    return []


def _wrong(pid: int, apparmor: str | None) -> list[str]:
    """Raise OSError if it has ended: of the two its status is read last."""
    label = wrong_label(Path(f"/proc/{pid}"), apparmor) if apparmor else ""
    return [*([label] if label else []), *_differences(_status(pid), EXPECTED)]


def wrong_status(pid: int, expected: Mapping[str, str] = EXPECTED) -> list[str]:
    """Return in what the state of a process differs from `expected`, in words."""
    try:
        return _differences(_status(pid), expected)
    except OSError as gone:
        return [f"its status cannot be read: {gone.strerror}"]


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def _differences(status: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    return [
        f"{name}: expected {value}, got {status.get(name, 'nothing')}"
        for name, value in expected.items()
        if status.get(name) != value
    ]


def unconfined(why: str, runtime: str) -> CannotStart:
    """Return the error for a container of which `why` is wrong."""
    return CannotStart(
        f"the container is not confined: {why}",
        hint="Nothing of the job has run. `docker info` has to list seccomp under Security "
        "Options; if it lists apparmor, `aa-status` has to show docker-default in enforce mode; "
        f"sandbox.runtime, now {runtime!r}, has to run processes on this host's "
        "kernel, as runc and crun do and runsc does not.",
    )
