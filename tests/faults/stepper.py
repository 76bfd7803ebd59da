"""Stops or kills a process at one chosen system call: between any two things that it does outside.

strace delivers the signal as the call begins, so that the call itself does not take place: points
n and n + 1 are the states before and after what call n does. Only the first thread is traced, never
a child: the counts are those of one sequence of steps, and the same in every run that takes the
same way. Children run on: a program that was started may be at any place when its starter dies.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# What changes something outside of the process, waits for it, or tells another process something.
CALLS = (
    "bind", "chown", "clone", "clone3", "connect", "epoll_wait", "fchown", "flock", "ftruncate",
    "kill", "lchown", "listen", "mkdir", "mknodat", "openat", "pidfd_send_signal", "pwrite64",
    "recvfrom", "rename", "rmdir", "sendto", "unlink", "utimensat", "vfork", "wait4", "write",
)  # fmt: skip
_UNIQUE = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(-[0-9a-f]{8})?|\d{2,}|/tmp/[^\"]*/"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """The `nth` call of this name, and the call itself as strace prints it."""

    call: str
    nth: int
    line: str

    def shown(self) -> str:
        """Return the call without what differs from run to run."""
        return _UNIQUE.sub("#", self.line.partition(" = ")[0])[:90]


def traced(to: Path, point: Point | None = None, *, signal: str = "KILL") -> list[str]:
    """Return the tracer of a process, which writes its calls to `to` and stops it at `point`."""
    inject = [f"--inject={point.call}:signal={signal}:when={point.nth}"] if point else []
    calls = ",".join(CALLS)
    return ["strace", "-qq", "-y", "-s", "120", "-o", str(to), f"--trace={calls}", *inject]


def points(trace: Path) -> list[Point]:
    """Return the calls of a finished trace; of `openat` only those that create a file."""
    counted: dict[str, int] = {}
    found = []
    for line in trace.read_text(errors="replace").splitlines():
        call, parenthesis, _ = line.partition("(")
        if not parenthesis or call not in CALLS:
            continue
        counted[call] = counted.get(call, 0) + 1
        if call != "openat" or "O_CREAT" in line:
            found.append(Point(call=call, nth=counted[call], line=line))
    return found


def killed_at(trace: Path) -> str:
    """Return the call at whose beginning the process was killed, or "" if it was not."""
    lines = trace.read_text(errors="replace").splitlines()
    calls = [line for line in lines if not line.startswith(("---", "+++"))]
    return calls[-1] if calls and calls[-1].rstrip().endswith("= ?") else ""


def after(steps: Sequence[Point], pattern: str) -> int:
    """Return the index of the first call that matches. Fails if the trace has none."""
    for index, step in enumerate(steps):
        if re.search(pattern, step.line):
            return index
    raise AssertionError(f"no call matches {pattern!r}: has this step changed?")


def attached(pid: int) -> bool:
    """Return whether a tracer has attached to this process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return "TracerPid:\t0" not in status


def stopped(pid: int) -> bool:
    """Return whether a signal has stopped this process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] in "Tt"
