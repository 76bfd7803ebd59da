"""The sealed room as values: what it shall be, what it is, how it ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import Signals


@dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    """One bind mount. Everything is nosuid by way of no-new-privileges."""

    source: Path
    target: Path
    writable: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxSpec:
    """Everything the engine is told about the room. Holds no secret and no job variable."""

    name: str
    image: str  # the image's id, so that pull and run cannot differ
    user: int
    labels: Mapping[str, str]
    mounts: tuple[Mount, ...]
    home: Path
    workdir: Path
    memory: int  # bytes
    cpus: float
    pids: int
    tmp: int  # bytes
    open_files: int
    runtime: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxGrace:
    """The agent's deadlines moved forward, so that everyone ends before the next one out.

    Seconds after the cancel signal: `inner` when the bootstrap inside kills its command,
    `kill_after` when we kill the room.
    """

    inner: float
    kill_after: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A started container: `pid` is its first process as this host sees it."""

    id: str
    name: str
    pid: int
    address: str
    gateway: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Exited:
    """The room ended by itself with this status (128 + n for a signal)."""

    code: int
    out_of_memory: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancelled:
    """The agent asked for the end, and the room ended within its grace."""

    by: Signals
    forwarded: Signals
    code: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Overdue:
    """The agent asked for the end, and the room had to be killed."""

    by: Signals
    after: float  # seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Breached:
    """We killed the room because what protects it was no longer certain."""

    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Evicted:
    """We killed the room because it had all but filled the disk that all jobs write to."""

    why: str


Ended = Exited | Cancelled | Overdue | Breached | Evicted
