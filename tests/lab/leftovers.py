"""What jobs occupy on this machine at this moment."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.lab.engine import control_groups, read
from tests.lab.lab import Fleet

RUNTIME = Path("/run/airlock")


def leftovers(fleet: Fleet) -> list[str]:
    """Name every container, firewall element, lease, mount and listener of Airlock's jobs."""
    return [
        *output("docker", "-H", fleet.lab.docker, "ps", "-aq", "--filter", "label=airlock.job"),
        *re.findall(r"[\d.]+ : 169\.254\.170\.2 \. \d+", _nft()),
        *[str(path) for path in (RUNTIME / "jobs").glob("*")],
        *[str(path) for path in (fleet.base / "state/fresh").glob("*")],
        *[line for line in Path("/proc/mounts").read_text().splitlines() if "airlock/jobs" in line],
        *output("ss", "-Hltn", "src", "169.254.170.2"),
    ]


def everything(fleet: Fleet) -> list[str]:
    """Name also what only a fault can leave: processes, files, what the kernel and Docker keep.

    Of Docker these are the network's endpoints, volumes and control groups.
    """
    endpoints = "{{range .Containers}}{{.Name}} {{.IPv4Address}}\n{{end}}"
    docker = ("docker", "-H", fleet.lab.docker)
    attached = output(*docker, "network", "inspect", "airlock", "--format", endpoints)
    return sorted(
        {
            *leftovers(fleet),
            *attached,
            *output(*docker, "volume", "ls", "-q"),
            *[f"process {one}" for one in processes(fleet)],
            *[str(path) for path in temporary(fleet)],
            *[str(path) for path in (fleet.base / "state/trash").glob("*")],
            *[str(path) for path in control_groups()],
            *output("ip", "-o", "link", "show", "master", "airlock0"),
            *kept_by_kernel(attached),
            *host_rules(),
        }
        - {""}
    )


def processes(fleet: Fleet) -> Iterator[str]:
    """Name the fleet's wrappers and reapers, and the ssh agents of this lab, zombies included."""
    for directory in Path("/proc").glob("[0-9]*"):
        command = read(directory / "cmdline").replace(b"\0", b" ").decode(errors="replace")
        ours = " -m bootstrap " in command and f"{fleet.base}/" in command
        if ours or ("ssh-agent -D" in command and _is_of_this_lab(directory)):
            yield f"{directory.name} {command.strip()}"


def _is_of_this_lab(process: Path) -> bool:
    """Its socket's directory is on the tmpfs of this lab, also if it was deleted meanwhile."""
    try:
        return os.stat(process / "root/socket").st_dev == RUNTIME.stat().st_dev  # noqa: PTH116
    except OSError:
        return False


def temporary(fleet: Fleet) -> Iterator[Path]:
    """Yield the files that were being written when their writer died."""
    for directory in (RUNTIME, fleet.base / "state", fleet.records.parent):
        yield from directory.glob(".*.new")
    yield from (fleet.base / "state").glob("*/.*.new")


def kept_by_kernel(attached: list[str]) -> Iterator[str]:
    """Yield what connection tracking and the ruleset keep of addresses that no container has.

    `attached` are the endpoints of the containers that run.
    """
    shown = "".join(output("ip", "-4", "addr", "show", "airlock0"))
    gateway = re.search(r"inet (\S+)/\d+ brd", shown)
    if not gateway:
        return
    used = {gateway[1], *re.findall(r"\S+(?=/\d+ *$)", "\n".join(attached), re.MULTILINE)}
    network = re.escape(gateway[1].rpartition(".")[0])
    sources = re.compile(rf"^[^=]*src=({network}\.\d+) ")
    for line in Path("/proc/net/nf_conntrack").read_text().splitlines():
        if (found := sources.search(line)) and found[1] not in used:
            yield line
    counted = " ".join(output("nft", "list", "set", "inet", "airlock", "open"))
    for address in re.findall(rf"{network}\.\d+", counted):
        if address not in used:
            yield f"{address} in the set `open`"


def expires(one: str) -> bool:
    """Say whether this is something that the kernel forgets by itself."""
    return one.endswith("in the set `open`") or " src=" in one


def host_rules() -> list[str]:
    """Return the routing rules, and the ruleset of the kernel without counters and elements."""
    return [
        *output("ip", "-4", "rule"),
        *output("ip", "-6", "rule"),
        *output("nft", "--stateless", "--terse", "list", "table", "inet", "airlock"),
    ]


def _nft() -> str:
    return "".join(output("nft", "list", "map", "inet", "airlock", "credentials"))


def output(*command: str) -> list[str]:
    """Return the lines that a program prints, none if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()
