"""From a host's settings to the container of a builder, and to what its clients need."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from bootstrap.host.config import Sandbox
from bootstrap.sandbox.environment import AIRLOCK, SCRATCH
from bootstrap.sandbox.leases.builder import container_name
from bootstrap.sandbox.model import Image, Mount, SandboxSpec
from bootstrap.sandbox.plan import LABEL, joined_body
from bootstrap.sandbox.shares import Share

PROGRAM = "airlock-builder"
CONTROL = "control"  # the socket over which it is mapped, in its directory
SETTINGS = "buildkitd.toml"
SOCKET = "buildkit.sock"  # of the job's clients, in the sandbox directory
# What a rootless builder does beside what jobs may do. Most of it needs capabilities in the user
# namespace. _WHATEVER is here without the conditions that jobs have: `clone` makes namespaces, and
# runc loads the filters of steps by the others.
_WHATEVER = ("clone", "prctl", "seccomp")
_ALSO = (
    *_WHATEVER,
    "chroot", "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr",
    "move_mount", "open_tree", "pivot_root", "setdomainname", "sethostname", "setns", "umount",
    "umount2", "unshare",
)  # fmt: skip
# Session keyrings, which runc goes on without if the kernel has none.
_ABSENT = ("add_key", "keyctl", "request_key")
_ENOSYS = 38
_BUILDER = "airlock"  # what clients of buildx call it


def seccomp(of_jobs: str) -> str:
    """Return the profile of builders: that of jobs, and what a user namespace takes."""
    profile: dict[str, Any] = json.loads(of_jobs)
    rules = [rule for rule in profile["syscalls"] if rule["names"][0] not in _WHATEVER]
    rules += [
        {"action": "SCMP_ACT_ALLOW", "names": list(_ALSO)},
        {"action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS, "names": list(_ABSENT)},
    ]
    return json.dumps({**profile, "syscalls": rules}, separators=(",", ":"))


def builder_spec(
    share: Share,
    defaults: Sandbox,
    *,
    token: str,
    users: range,
    image: Image,
    directory: Path,
    cache: Path,
    resolvers: Path,
    program: Path,
) -> SandboxSpec:
    """Return the specification of a builder. `directory` has its socket and its settings."""
    return SandboxSpec(
        name=container_name(token),
        image=image,
        user=users.start,
        group=users.start,
        labels={LABEL: token},
        mounts=(
            Mount(source=directory, target=Path(AIRLOCK)),
            Mount(source=program, target=Path("/opt/airlock/bin") / PROGRAM),
            Mount(source=resolvers, target=Path("/etc/resolv.conf")),
            Mount(source=cache, target=Path("/var/lib/buildkit"), writable=True),
        ),
        home=Path("/home/buildkit"),
        workdir=Path("/"),
        memory=share.memory,
        cpus=share.cpus,
        pids=share.pids,
        tmp=defaults.tmp,
        open_files=defaults.open_files,
        runtime=defaults.runtime,
    )


def builder_body(
    spec: SandboxSpec, of_jobs: str, apparmor: str | None, network_of: str
) -> dict[str, Any]:
    """Return the body of a builder: a job's in all but what docs/builds.md says.

    `network_of` is the id of the job's container, `apparmor` the profile of jobs if there is one:
    it forbids mounts.
    """
    profile = "unconfined" if apparmor else None
    body = joined_body(spec, seccomp(of_jobs), profile, network_of)
    own = f"rw,nosuid,nodev,uid={spec.user},gid={spec.group},mode=0755,size={spec.tmp}"
    host_config = {
        **body["HostConfig"],
        # Mounts of /proc need one that hides nothing (mount_namespaces(7)).
        "MaskedPaths": [],
        "ReadonlyPaths": [],
        "Tmpfs": dict.fromkeys(in_memory(spec), own),
    }
    return {
        **body,
        "Entrypoint": [
            f"/opt/airlock/bin/{PROGRAM}",
            str(AIRLOCK / CONTROL),
            "/bin/sh",
            "-c",
            f"exec buildkitd --config {AIRLOCK / SETTINGS} --addr fd://",
        ],
        "Env": [f"HOME={spec.home}", "XDG_RUNTIME_DIR=/run", "BUILDKIT_HOST="],
        "AttachStdout": False,
        "AttachStderr": False,
        "HostConfig": host_config,
    }


def in_memory(spec: SandboxSpec) -> tuple[str, ...]:
    """Return the directories in memory that a builder writes to; each may hold `spec.tmp`."""
    return ("/tmp", "/run", str(spec.home))  # noqa: S108 - of the container


def settings(cache: int, resolver: str = "") -> bytes:
    """Return buildkitd's configuration; its cache has at most that many bytes, 0 is no bound.

    It grants no entitlement: steps have no more than Docker's default. `resolver` is the one of
    steps: without it they get those of /etc/resolv.conf, but none on the loopback. In place of
    these BuildKit has them ask public ones.
    """
    named = f'\n[dns]\n  nameservers = ["{resolver}"]\n' if resolver else ""
    bound = f"""
  [[worker.oci.gcpolicy]]
    all = true
    maxUsedSpace = {cache}
"""
    return f"""root = "/var/lib/buildkit"
insecure-entitlements = []

[cdi]
  disabled = true

[worker.containerd]
  enabled = false

[worker.oci]
  enabled = true
  rootless = true
  snapshotter = "overlayfs"
  networkMode = "host"
  gc = true
{bound if cache else ""}{named}""".encode()


def variables() -> Mapping[str, str]:
    """Return the variables by which clients find the job's builder."""
    return {
        "BUILDKIT_HOST": _host(),
        "BUILDX_BUILDER": _BUILDER,
        "BUILDX_CONFIG": str(_buildx()),
    }


def preparation() -> bytes:
    """Return what the entry script runs first: buildx's own directory has to be writable."""
    node = {"Name": f"{_BUILDER}0", "Endpoint": _host()}
    instance = json.dumps({"Name": _BUILDER, "Driver": "remote", "Nodes": [node]})
    instances = _buildx() / "instances"
    return f"mkdir -p {instances}\necho '{instance}' >{instances}/{_BUILDER}\n".encode()


def _host() -> str:
    return f"unix://{AIRLOCK / SOCKET}"


def _buildx() -> PurePosixPath:
    return SCRATCH / "buildx"


def mapping(users: range | Sequence[int]) -> bytes:
    """Return a line of uid_map and of gid_map (user_namespaces(7))."""
    return f"0 {users[0]} {len(users)}\n".encode()
