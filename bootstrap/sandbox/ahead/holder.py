"""A holder: a container of Airlock's own, whose network namespace one later job uses.

Two thirds of the engine's time for a start are its network. A holder has taken it before the job
comes. Its directory in paths.runtime says whose it is:

- networks/unready/TOKEN: it is being made or removed, by whoever has locked networks.lock;
- networks/ready/TOKEN: one job may adopt it;
- jobs/JOB/network-TOKEN: that job has it, and whoever clears the job's lease removes it.

Each step from one to the next is one rename(2): two jobs never adopt the same holder, and one that
was adopted is never ready again.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from ipaddress import IPv4Address
from pathlib import Path

from bootstrap import files
from bootstrap.errors import AirlockError
from bootstrap.host.config import Sandbox
from bootstrap.metrics import catalogue
from bootstrap.metrics.report import report
from bootstrap.sandbox.leases import first_process
from bootstrap.sandbox.model import Holder
from bootstrap.sandbox.network import addresses, datagrams
from bootstrap.sandbox.network import bridge as ports
from bootstrap.sandbox.plan import HOLDER

_FILE = "holder"  # in its directory, beside the record of its process
_ADOPTED = "network-"  # before the token, in a job directory


def unready(runtime: Path) -> Path:
    """Return the directory of those that are being made or removed."""
    return runtime / "networks" / "unready"


def ready(runtime: Path) -> Path:
    """Return the directory of those that jobs may adopt."""
    return runtime / "networks" / "ready"


def entries(directory: Path) -> list[Path]:
    """Return the directories of holders in one of the above, the oldest first."""
    found = []
    with suppress(FileNotFoundError):
        for path in directory.iterdir():
            with suppress(FileNotFoundError):  # a job has adopted it meanwhile
                found.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(found)]


def container_name(token: str) -> str:
    """Return the name of a holder's container."""
    return f"{HOLDER}-{token}"


def write(directory: Path, holder: Holder) -> None:
    """Write down what the holder is, and its process. Raises CannotStart if that has ended."""
    first_process.record(directory, holder.pid)
    files.write(directory / _FILE, json.dumps(asdict(holder)).encode())


def read(directory: Path) -> Holder | None:
    """Return what was written down; None if nothing was, or by another version."""
    try:
        return Holder(**json.loads((directory / _FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def adopt(runtime: Path, job: Path, sandbox: Sandbox) -> Holder | None:
    """Make a holder that is ready the job's own; None if there is none, or if it cannot be used.

    `job` is the job directory. One that cannot be used is the job's too, and is removed with it.
    """
    for path in entries(ready(runtime)):
        adopted = job / f"{_ADOPTED}{path.name}"
        try:
            path.rename(adopted)
        except OSError:  # another job was first
            continue
        holder = read(adopted)
        usable = holder is not None and is_usable(adopted, holder, sandbox)
        report(catalogue.PREPARED_NETWORKS, result="used" if usable else "unusable")
        return holder if usable else None
    report(catalogue.PREPARED_NETWORKS, result="none_ready")
    return None


def is_usable(directory: Path, holder: Holder, sandbox: Sandbox) -> bool:
    """Say whether it is what it was when it was made, on the bridge that jobs use now.

    It is not after a restart of the engine, which ends it, or when the bridge was made anew.
    """
    try:
        if (
            holder.runtime != sandbox.runtime
            or IPv4Address(holder.address) not in sandbox.subnet
            or not first_process.is_running(directory)
            or addresses.namespace(holder.pid) != holder.namespace
        ):
            return False
        ports.isolate_port(holder.pid)  # raises if it is no port of the bridge
        datagrams.separate(holder.pid)
        return first_process.is_running(directory)
    except (AirlockError, OSError, ValueError):
        return False


def adopted_by(job: Path) -> Iterator[tuple[str, Path]]:
    """Yield the token and the directory of each holder that a job has adopted."""
    for path in sorted(job.glob(f"{_ADOPTED}*")):
        yield path.name.removeprefix(_ADOPTED), path


def kill_adopted(job: Path, patience: float) -> None:
    """End the processes of the job's holders, without the engine. Raises CannotStart."""
    for _, path in adopted_by(job):
        first_process.kill(path, patience)
