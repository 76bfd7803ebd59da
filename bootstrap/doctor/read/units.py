"""systemd's units: the service, its socket, Docker and the agents."""

from collections.abc import Iterator
from pathlib import Path

from bootstrap import process
from bootstrap.doctor.model import Unread
from bootstrap.doctor.snapshot import Units

SYSTEMD = Path("/run/systemd/system")  # there while systemd is process 1 (sd_booted(3))
_WITHOUT = (
    "See docs/operations.md#without-systemd for what your supervisor has to do; then leave this "
    "check out with --skip."
)
SERVICE, SOCKET, DOCKER, AGENT = (
    "airlock.service", "airlock.socket", "docker.service", "buildkite-agent.service",
)  # fmt: skip
PROPERTIES = (
    "LoadState", "ActiveState", "UnitFileState", "StatusText", "NeedDaemonReload", "FragmentPath",
    "After", "Requires", "Environment", "User",
    "KillMode", "OOMPolicy", "UMask", "TimeoutStopUSec", "OOMScoreAdjust", "ExecStart",
    "PrivateTmp", "ProtectSystem", "ProtectHome", "PrivateDevices", "ProtectKernelTunables",
    "ProtectKernelModules", "ProtectControlGroups", "PrivateMounts", "RuntimeDirectory",
    "SocketGroup", "Listen",
)  # fmt: skip


def units() -> Units | Unread:
    """Return the units. Raises CannotStart if systemd does not answer."""
    if not SYSTEMD.is_dir():
        return Unread(why="systemd is not process 1 of this host", fix=_WITHOUT)
    return Units(properties={name: dict(_shown(name)) for name in (*_agents(), SERVICE, SOCKET,
                                                                  DOCKER)})  # fmt: skip


def _agents() -> list[str]:
    """Return the agents' units: several agents may have instances of one."""
    command = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "--full",
               "buildkite-agent*.service"]  # fmt: skip
    lines = process.run(command).splitlines()
    return [AGENT, *(line.split()[0] for line in lines if line.strip() and AGENT not in line)]


def _shown(name: str) -> Iterator[tuple[str, str]]:
    command = ["systemctl", "show", name, f"--property={','.join(PROPERTIES)}"]
    found = dict(properties(process.run(command)))
    if found.get("LoadState") in {"loaded", "masked"}:
        yield from found.items()


def properties(shown: str) -> Iterator[tuple[str, str]]:
    """Yield name and value of each line that `systemctl show` prints."""
    for line in shown.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            yield name, value
