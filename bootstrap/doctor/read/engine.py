"""Docker Engine: what it reports of itself, its options, its socket and its packages."""

import grp
import json
import pwd
import stat
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootstrap.doctor.model import Read, known
from bootstrap.doctor.read.places import Places
from bootstrap.doctor.read.reading import read, text
from bootstrap.doctor.snapshot import DockerSocket, Engine
from bootstrap.errors import WrongConfiguration
from bootstrap.host.config import Host
from bootstrap.sandbox import engine as docker

if TYPE_CHECKING:
    from bootstrap.sandbox.engine_client import Client

PATIENCE = 10.0  # seconds for one call
# Of /info: the limits that a job's container gets.
_LIMITS = ("MemoryLimit", "PidsLimit", "CpuCfsQuota", "CpuShares")


def engine(host: Read[Host], places: Places) -> Engine:
    """Return the engine. Raises CannotStart if it does not answer."""
    url = known(host).sandbox.docker
    with docker.connected(url, timeout=PATIENCE) as client, docker.explained("report its versions"):
        return _engine(client, Path(url.removeprefix("unix://")), places)


def _engine(client: "Client", socket: Path, places: Places) -> Engine:
    version, info = client.get("/version"), client.get("/info")
    registries = info.get("RegistryConfig") or {}
    components = version.get("Components") or ()
    return Engine(
        version=str(version.get("Version", "")),
        api=str(version.get("ApiVersion", "")),
        components={str(one.get("Name", "")): str(one.get("Version", "")) for one in components},
        security=frozenset(_names(info.get("SecurityOptions") or ())),
        runtimes=frozenset(info.get("Runtimes") or ()),
        insecure_registries=_insecure(registries),
        warnings=tuple(map(str, info.get("Warnings") or ())),
        lacks=tuple(name for name in _LIMITS if info.get(name) is False),
        root=Path(str(info.get("DockerRootDir") or "/var/lib/docker")),
        options=read(partial(options, places)),
        socket=read(partial(_socket, socket)),
    )


def _names(security: Any) -> set[str]:  # noqa: ANN401 - JSON
    """Return the names of Security Options such as "name=seccomp,profile=default"."""
    return {str(option).partition(",")[0].removeprefix("name=") for option in security}


def _insecure(registries: Mapping[str, Any]) -> tuple[str, ...]:
    """Return registries without TLS, but for the loopback, which is always there."""
    configured = registries.get("IndexConfigs") or {}
    names = [name for name, one in configured.items() if not one.get("Secure", True)]
    networks = map(str, registries.get("InsecureRegistryCIDRs") or ())
    return (*names, *(one for one in networks if not one.startswith(("127.", "::1"))))


def options(places: Places) -> Mapping[str, object]:
    """Return dockerd's options by their names in daemon.json; those of its command line too.

    Raises WrongConfiguration if daemon.json is not JSON: dockerd would not start again.
    """
    try:
        content = text(places.daemon_json)
    except FileNotFoundError:
        content = "{}"
    try:
        found = json.loads(content or "{}")
    except ValueError as broken:
        raise _wrong(places.daemon_json, f"is not JSON: {broken}") from broken
    if not isinstance(found, dict):
        raise _wrong(places.daemon_json, "is not a JSON object")
    running = of_command_line(_command_line(places))
    hosts = [*_listed(found.get("hosts")), *_listed(running.get("hosts"))]
    return {**found, **running, **({"hosts": hosts} if hosts else {})}


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _wrong(path: Path, what: str) -> WrongConfiguration:
    return WrongConfiguration(
        f"{path} {what}",
        hint=f"Correct it (`dockerd --validate --config-file {path}` names each mistake): Docker "
        "goes on with what it read before, and does not start again with this.",
    )


def _command_line(places: Places) -> list[str]:
    """Return the arguments of the dockerd that runs, by its pid file; none if there is none."""
    try:
        pid = int(text(places.dockerd_pid))
        return text(Path(f"/proc/{pid}/cmdline")).split("\0")[1:]
    except (OSError, ValueError):
        return []


def of_command_line(arguments: list[str]) -> dict[str, object]:
    """Return the options of a command line, as daemon.json spells them; `-H` is "hosts"."""
    found: dict[str, object] = {}
    hosts: list[str] = []
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if name in {"-H", "--host"}:
            hosts.append(value if equals else next(words, ""))
        elif name.startswith("--"):
            found[name.removeprefix("--")] = {"": True, "false": False, "true": True}.get(
                value, value
            )
    return {**found, **({"hosts": hosts} if hosts else {})}


def _socket(path: Path) -> DockerSocket:
    status = path.stat()
    try:
        group = grp.getgrgid(status.st_gid)
    except KeyError:
        return DockerSocket(
            mode=stat.S_IMODE(status.st_mode), group=str(status.st_gid), members=frozenset()
        )
    primary = {user.pw_name for user in pwd.getpwall() if user.pw_gid == status.st_gid}
    return DockerSocket(
        mode=stat.S_IMODE(status.st_mode),
        group=group.gr_name,
        members=frozenset({*group.gr_mem, *primary} - {"root"}),
    )
