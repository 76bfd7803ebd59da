"""Which container has which address, written down where every Airlock of this host finds it.

The engine gives an address to the next container as soon as one has ended, and that is before
whoever ran the first one has cleared up. A claim is worth something only while its container lives.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from bootstrap import files
from bootstrap.sandbox.model import Running

_FILE = "address"  # in the job's own directory


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """The address of one container, and the port of its credential listener if it has one."""

    token: str
    address: str
    port: int | None
    pid: int  # the container's first process,
    namespace: int  # and its network namespace: another process of that pid has another one


def of(directory: Path, running: Running, port: int | None) -> Claim:
    """Return the claim of a container that lives. Raises FileNotFoundError if it does not."""
    return Claim(
        token=directory.name,
        address=running.address,
        port=port,
        pid=running.pid,
        namespace=_namespace(running.pid),
    )


def write(directory: Path, claim: Claim) -> None:
    """Write a claim into the job's directory, at once: readers see all of it or nothing."""
    files.write(directory / _FILE, json.dumps(asdict(claim)).encode())


def read(directory: Path) -> Claim | None:
    """Return the claim in a job's directory, if it has one."""
    try:
        return Claim(**json.loads((directory / _FILE).read_text()))
    except FileNotFoundError:
        return None


def remove(directory: Path) -> None:
    """Give up the claim in a job's directory. No claim is fine."""
    with suppress(FileNotFoundError):
        (directory / _FILE).unlink()


def is_alive(claim: Claim) -> bool:
    """Say whether the container still has processes, and so its address."""
    try:
        return _namespace(claim.pid) == claim.namespace
    except FileNotFoundError:
        return False


def living(jobs: Path) -> tuple[Claim, ...]:
    """Return the claims of all containers that live; `jobs` has a directory for each job."""
    found = (read(path.parent) for path in sorted(jobs.glob(f"*/{_FILE}")))
    return tuple(claim for claim in found if claim and is_alive(claim))


def _namespace(pid: int) -> int:
    return Path(f"/proc/{pid}/ns/net").stat().st_ino
