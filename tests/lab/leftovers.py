"""What jobs occupy on this machine at this moment."""

import re
import subprocess
from pathlib import Path

from tests.lab.lab import Fleet


def leftovers(fleet: Fleet) -> list[str]:
    """Name every container, firewall element, lease, mount and listener of Airlock's jobs."""
    return [
        *_lines("docker", "-H", fleet.lab.docker, "ps", "-aq", "--filter", "label=airlock.job"),
        *re.findall(r"[\d.]+ : 169\.254\.170\.2 \. \d+", _nft()),
        *[str(path) for path in Path("/run/airlock/jobs").glob("*")],
        *[str(path) for path in (fleet.base / "state/fresh").glob("*")],
        *[line for line in Path("/proc/mounts").read_text().splitlines() if "airlock/jobs" in line],
        *_lines("ss", "-Hltn", "src", "169.254.170.2"),
    ]


def _nft() -> str:
    return "".join(_lines("nft", "list", "map", "inet", "airlock", "credentials"))


def _lines(*command: str) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()
