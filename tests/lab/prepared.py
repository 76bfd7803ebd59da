"""Prepared networks of a fleet's service: what a test looks at."""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.fakes.control_plane import Job
from tests.lab.engine import eventually
from tests.lab.lab import AIRLOCK, Fleet

NETWORKS = Path("/run/airlock/networks")


def ready() -> list[Path]:
    """Return the directories of those that jobs may adopt."""
    return sorted((NETWORKS / "ready").glob("*"))


def forget(fleet: Fleet) -> None:
    """Remove all that no job has adopted, as gc does some time after the service has ended."""
    (NETWORKS / "served").unlink(missing_ok=True)
    collect(fleet)
    assert (ready(), unready(), containers(fleet)) == ([], [], [])


def collect(fleet: Fleet) -> str:
    """Run `airlock gc`, and return what it prints."""
    command = [*AIRLOCK, "gc", "--config", str(fleet.config)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def unready() -> list[Path]:
    return sorted((NETWORKS / "unready").glob("*"))


def wait_for(number: int) -> None:
    """Wait until so many are ready."""
    eventually(lambda: len(ready()) == number, f"{number} prepared networks are ready", 30)


def fact(path: Path) -> dict[str, Any]:
    """Return what is written down about one."""
    found: dict[str, Any] = json.loads((path / "holder").read_text())
    return found


def containers(fleet: Fleet) -> list[str]:
    """Return the tokens of all holders that the engine has."""
    form = '{{.Label "airlock.network"}}'
    return sorted(_docker(fleet, "ps", "-a", "--filter", "label=airlock.network", "--format", form))


def created(fleet: Fleet, token: str) -> str:
    """Return when a holder was created, in UTC and ISO format."""
    (at,) = _docker(fleet, "inspect", "-f", "{{.Created}}", f"airlock-network-{token}")
    return at


def network_mode(fleet: Fleet, job: Job) -> str:
    """Return the mode of a running job's container."""
    (container,) = _docker(fleet, "ps", "-q", "--filter", f"label=airlock.job-id={job.id}")
    (mode,) = _docker(fleet, "inspect", "-f", "{{.HostConfig.NetworkMode}}", container)
    return mode


def _docker(fleet: Fleet, *arguments: str) -> list[str]:
    command = ["docker", "-H", fleet.lab.docker, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
