"""A container as values: its specification, its running state, and how it ended."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

_TOKEN = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9.-]{1,100}")


def is_token(text: str) -> bool:
    """Return whether a text can be a token: as a part of a path or a URL, it leads nowhere else."""
    return bool(_TOKEN.fullmatch(text))


@dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    """One bind mount. no-new-privileges makes every mount behave as nosuid."""

    source: Path
    target: Path
    writable: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Volume:
    """One volume of the engine, by its name, where the container sees it."""

    name: str
    target: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """An image on this host, by its id: what runs is what was pulled.

    `reference` is how the rule or the host names it. `digests` are its names by digest, one for
    each registry that it was pulled from or pushed to: other hosts can pull it by these.
    """

    id: str
    volumes: tuple[str, ...] = ()  # paths that it declares
    reference: str = ""
    digests: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxSpec:
    """The whole configuration of a container. It has no secret and no job variable."""

    name: str
    image: Image
    user: int
    group: int
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
    volumes: tuple[Volume, ...] = ()  # of the engine, which a job on a host never has
    terminal: bool = False  # its standard streams are a terminal, for a developer's prompt


def described(spec: SandboxSpec) -> dict[str, object]:
    """Return what a record has of a specification: nothing that names a path of this host."""
    return {
        "user": spec.user,
        "home": str(spec.home),
        "workdir": str(spec.workdir),
        "mounts": {str(m.target): "rw" if m.writable else "ro" for m in spec.mounts},
        "memory": spec.memory,
        "cpus": spec.cpus,
        "pids": spec.pids,
        "tmp": spec.tmp,
        "open_files": spec.open_files,
        "runtime": spec.runtime,
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxGrace:
    """Deadlines inside the sandbox, in seconds after the cancel signal.

    At `inner` the bootstrap kills its command, at `kill_after` Airlock kills the container, and at
    `agent_kills` the agent kills Airlock.
    """

    inner: float
    kill_after: float
    agent_kills: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """A container whose network namespace another one joins: see ahead/holder.py."""

    container: str  # its id
    pid: int  # its first process as this host sees it
    namespace: int  # its network namespace (inode number)
    address: str
    gateway: str
    runtime: str
    image: str  # its id


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A started container: `pid` is its first process as this host sees it.

    With `holder`, the first process of another container, it has joined the network namespace of
    that one, whose address it has for as long as that one runs.
    """

    id: str
    name: str
    pid: int
    address: str
    gateway: str
    holder: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Exited:
    """The job ended by itself with this status (128 + n for signal n).

    `out_of_memory` is None if Docker did not report it.
    """

    code: int
    out_of_memory: bool | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancelled:
    """The agent cancelled the job, and it ended within its grace."""

    by: Signals
    forwarded: Signals
    code: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Overdue:
    """The agent cancelled the job, and Airlock had to kill it."""

    by: Signals
    after: float  # seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Breached:
    """Airlock killed the job because its ruleset was changed, or its network's holder ended."""

    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Evicted:
    """Airlock killed the job because it had nearly filled the disk of all workspaces."""

    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Abandoned:
    """Airlock killed the job because its launcher was killed: nobody waited for the status."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unknown:
    """The job ran, and neither the kernel nor Docker reports how it ended."""

    why: str


Ended = Exited | Cancelled | Overdue | Breached | Evicted | Abandoned | Unknown
