"""systemd's units: the service, its socket, Docker and the agents."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from bootstrap import process
from bootstrap.doctor.model import Unread
from bootstrap.doctor.read.reading import read, text
from bootstrap.doctor.snapshot import Units

SYSTEMD = Path("/run/systemd/system")  # there while systemd is process 1 (sd_booted(3))
_WITHOUT = (
    "See docs/operations.md#without-systemd for what your supervisor has to do; then leave this "
    "check out with --skip."
)
RULESET = "airlock-firewall.service"  # of machine images
SERVICE, SOCKET, DOCKER, AGENT = (
    "airlock.service", "airlock.socket", "docker.service", "buildkite-agent.service",
)  # fmt: skip
PROPERTIES = (
    "LoadState", "ActiveState", "UnitFileState", "StatusText", "NeedDaemonReload", "FragmentPath",
    "After", "Before", "Requires", "BindsTo", "Environment", "EnvironmentFiles", "User",
    "KillMode", "OOMPolicy", "UMask", "TimeoutStopUSec", "OOMScoreAdjust", "ExecStart",
    "PrivateTmp", "ProtectSystem", "ProtectHome", "PrivateDevices", "ProtectKernelTunables",
    "ProtectKernelModules", "ProtectControlGroups", "PrivateMounts", "RuntimeDirectory",
    "SocketGroup", "Listen",
)  # fmt: skip


def units() -> Units | Unread:
    """Return the units. Raises CannotStart if systemd does not answer."""
    if not SYSTEMD.is_dir():
        return Unread(why="systemd is not process 1 of this host", fix=_WITHOUT)
    names = (*_agents(), SERVICE, SOCKET, DOCKER, RULESET)
    found = {name: _shown(name) for name in names}
    variables = {name: frozenset(_variables(one)) for name, one in found.items()}
    return Units(properties=found, variables=variables)


def _agents() -> list[str]:
    """Return the agents' units: several agents may have instances of one."""
    command = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "--full",
               "buildkite-agent*.service"]  # fmt: skip
    lines = process.run(command).splitlines()
    return [AGENT, *(line.split()[0] for line in lines if line.strip() and AGENT not in line)]


def _shown(name: str) -> dict[str, str]:
    """Return a unit's properties, those with several values in lines; none if it is not loaded."""
    command = ["systemctl", "show", name, f"--property={','.join(PROPERTIES)}"]
    found: dict[str, str] = {}
    for one, value in properties(process.run(command)):
        found[one] = f"{found[one]}\n{value}" if one in found else value
    return found if found.get("LoadState") in {"loaded", "masked"} else {}


def _variables(unit: Mapping[str, str]) -> Iterator[str]:
    """Yield the names of a unit's environment; a file that cannot be read has none."""
    for word in unit.get("Environment", "").split():
        yield word.lstrip("\"'").partition("=")[0]
    for file in unit.get("EnvironmentFiles", "").splitlines():
        content = read(partial(text, Path(file.partition(" (")[0])))
        for line in content.splitlines() if isinstance(content, str) else ():
            yield line.strip().removeprefix("export ").partition("=")[0]


def properties(shown: str) -> Iterator[tuple[str, str]]:
    """Yield name and value of each line that `systemctl show` prints."""
    for line in shown.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            yield name, value
