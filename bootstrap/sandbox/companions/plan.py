"""From a rule's service to the configuration of its container (docs/services.md)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from bootstrap.host.config import Sandbox
from bootstrap.policy.services import ServiceContainer
from bootstrap.sandbox.model import Image, Mount, SandboxSpec
from bootstrap.sandbox.plan import LABEL, SERVICE, SERVICE_DIRECTORY, SERVICE_LABEL, joined_body

FILES = ("passwd", "group", "hosts", "resolv.conf")  # in /etc of each
OOM_SCORE = 600  # above a job's: the machine loses a service before it loses the job
_SHM = 256 << 20  # bytes; PostgreSQL has its shared memory there
_HOME = Path("/tmp")  # noqa: S108 - of the container
_SHARED = ("/tmp", "/var/tmp")  # noqa: S108 - of the container
_WRITABLE = ("/run", *_SHARED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Companion:
    """One service container that is to run: its name, how its rule has it, and its image."""

    name: str
    service: ServiceContainer
    image: Image


def container_name(token: str, service: str) -> str:
    """Return the name of a service's container. `token` is that of the job's lease."""
    return f"{SERVICE}-{token}.{service}"


def directory_of(job: Path, service: str) -> Path:
    """Return a service's directory, in the job directory."""
    return job / f"{SERVICE_DIRECTORY}{service}"


def spec_of(
    companion: Companion, defaults: Sandbox, *, token: str, uid: int, directory: Path
) -> SandboxSpec:
    """Return the specification. Of the host, the container sees the files of `directory` alone."""
    service = companion.service
    return SandboxSpec(
        name=container_name(token, companion.name),
        image=companion.image,
        user=uid,
        group=uid,
        labels={LABEL: token, SERVICE_LABEL: companion.name},
        mounts=tuple(Mount(source=directory / name, target=Path("/etc", name)) for name in FILES),
        home=_HOME,
        workdir=Path("/"),
        memory=service.memory,
        cpus=service.cpus,
        pids=service.pids,
        tmp=service.memory // 2,
        open_files=defaults.open_files,
        runtime=defaults.runtime,
    )


def body_of(
    companion: Companion, spec: SandboxSpec, seccomp: str, apparmor: str | None, *, job: str
) -> dict[str, Any]:
    """Return the body of the create call: a job's, in the network of the container `job`.

    Program and working directory are the image's, and what is writable is in memory.
    """
    # Without volumes: those would be owned by root, and only their owner may change a mode, as
    # PostgreSQL does. What is in Tmpfs has an owner, and keeps the engine from making a volume.
    body = joined_body(replace(spec, image=replace(spec.image, volumes=())), seccomp, apparmor, job)
    for key in ("Entrypoint", "Cmd", "WorkingDir"):
        del body[key]
    service = companion.service
    own = {
        "Tmpfs": {path: _options(path, spec) for path in writable(companion)},
        "OomScoreAdj": OOM_SCORE,
        "ShmSize": min(_SHM, spec.tmp),
    }
    return {
        **body,
        **({} if service.command is None else {"Cmd": list(service.command)}),
        "Env": [f"{name}={value}" for name, value in service.env.items()],
        "HostConfig": {**body["HostConfig"], **own},
    }


def writable(companion: Companion) -> list[str]:
    """Return the directories in memory: each may hold half of the container's memory."""
    volumes = [str(PurePosixPath(path)) for path in companion.image.volumes]
    return list(dict.fromkeys((*_WRITABLE, *volumes, *companion.service.tmpfs)))


def _options(path: str, spec: SandboxSpec) -> str:
    shared = "mode=1777" if path in _SHARED else "mode=0755"
    owner = f"uid={spec.user},gid={spec.group}"
    return f"rw,exec,nosuid,nodev,{owner},{shared},size={spec.tmp}"


def passwd(user: str, uid: int) -> bytes:
    """Return an /etc/passwd in which the container's user has this name."""
    entries = {"root": "root:x:0:0:root:/root:/sbin/nologin", "nobody": "nobody:x:65534:65534::/:"}
    entries[user] = f"{user}:x:{uid}:{uid}:service container:{_HOME}:/bin/sh"
    return "".join(f"{entry}\n" for entry in entries.values()).encode()


def group(user: str, gid: int) -> bytes:
    """Return the /etc/group that goes with `passwd`."""
    entries = {"root": "root:x:0:", "nogroup": "nogroup:x:65534:", user: f"{user}:x:{gid}:"}
    return "".join(f"{entry}\n" for entry in entries.values()).encode()


def hosts(names: Iterable[str]) -> bytes:
    """Return an /etc/hosts for the job and its services, all of which share one network."""
    listed = " ".join(names)
    return (
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
        f"127.0.0.1\t{listed}\n127.0.1.1\tairlock\n"
    ).encode()


def described(companion: Companion) -> Mapping[str, object]:
    """Return what a record has of a service container."""
    service = companion.service
    return {
        "image": companion.image.id,
        "reference": companion.image.reference,
        "digests": list(companion.image.digests),
        "memory": service.memory,
        "cpus": service.cpus,
        "pids": service.pids,
    }
