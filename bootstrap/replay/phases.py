"""The phases of a replayed job, by the headings that the bootstrap prints."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# Headings of groups: --- closed, +++ open, ~~~ quiet (docs/agent-contract.md#log-output).
HEADING = re.compile(rb"^(?:---|\+\+\+|~~~) +(.*)$")
# What the agent puts before a line, colours, and the time in the lines of the agent's commands.
_MARKS = re.compile(
    rb"\x1b_bk;t=\d+\x07|\x1b\[[0-9;]*[A-Za-z]|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?= [A-Z])"
)
# What git prints while it fetches. Which of it, and in which order, depends on the time it takes.
_PROGRESS = re.compile(
    rb"^(?:remote: |Receiving objects: |Resolving deltas: |Unpacking objects: |Updating files: |"
    rb"Filtering content: )"
)
_LONGEST = 4096  # bytes of a line that is looked at
MOST = 500  # phases: what a job prints beyond these belongs to the last one


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """One group of the log, and the seconds until the next one."""

    title: str
    seconds: float


class Phases:
    """Finds headings in the output as it comes. `now` is in seconds of one clock."""

    def __init__(self, now: float) -> None:
        self._line = b""
        self._found: list[tuple[str, float]] = [("start", now)]
        self._digest = hashlib.sha256()

    def received(self, output: bytes, now: float) -> None:
        """Take note of the headings in the next piece of output."""
        *lines, self._line = (self._line + output).split(b"\n")
        for line in lines:
            if not _PROGRESS.match(plain(line)):
                self._digest.update(plain(line) + b"\n")
            match = HEADING.match(plain(line[:_LONGEST]))
            if match and len(self._found) < MOST:
                self._found.append((match[1].decode("utf-8", "replace").strip(), now))
        if len(self._line) > _LONGEST:  # no heading is as long
            self._digest.update(self._line)
            self._line = b""

    def digest(self) -> str:
        """Return the output's SHA-256, without colours, the agent's times and git's progress."""
        whole = self._digest.copy()
        if not _PROGRESS.match(plain(self._line)):
            whole.update(plain(self._line))  # a last line without an end
        return whole.hexdigest()

    def until(self, end: float) -> tuple[Phase, ...]:
        """Return the phases of a job that has ended then."""
        ends = [*(began for _, began in self._found[1:]), end]
        return tuple(
            Phase(title=title, seconds=after - began)
            for (title, began), after in zip(self._found, ends, strict=True)
        )


class Timings:
    """The seconds that each step before the job's begin took. `now` is in seconds of one clock."""

    def __init__(self, now: float) -> None:
        self._last = now
        self.seconds: dict[str, float] = {}

    def ended(self, step: str, now: float) -> None:
        """Take note that a step has ended, which began when the one before it ended."""
        self.seconds[step] = now - self._last
        self._last = now


def plain(line: bytes) -> bytes:
    """Return a line without colours, the agent's timestamps, and a terminal's carriage return."""
    return _MARKS.sub(b"", line).rstrip(b"\r")


def digest_of(lines: Iterable[bytes]) -> str:
    """Return the digest that `Phases` returns for output of these lines."""
    found = Phases(0.0)
    found.received(b"\n".join(lines), 0.0)
    return found.digest()


def shown(phases: Sequence[Phase]) -> str:
    """Return the phases as a table, one on each line."""
    width = max((len(phase.title) for phase in phases), default=0)
    return "\n".join(f"{phase.title:<{width}}  {phase.seconds:8.2f} s" for phase in phases)
