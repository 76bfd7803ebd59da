"""From a job, its grant and this host to the container's configuration.

Each flag names the promise that it serves; README.md#security-model has the numbers.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from bootstrap.errors import Refused
from bootstrap.host.config import Sandbox
from bootstrap.job.model import Claims, Job
from bootstrap.policy.model import Grant
from bootstrap.sandbox import agent_settings, shares
from bootstrap.sandbox.environment import AIRLOCK, BIN, SCRATCH, more_hooks
from bootstrap.sandbox.model import Image, Mount, SandboxSpec, Volume

NETWORK = "airlock"
LABEL = "airlock.job"
HOLDER = "airlock-network"  # with its token, the name of a holder's container
HOLDER_LABEL = "airlock.network"
SERVICE = "airlock-service"  # with token and name, a service container
SERVICE_LABEL = "airlock.service"
SERVICE_DIRECTORY = "service-"  # before its name, in the job directory
HOME = Path("/home/airlock")
SHARES_PER_CPU = 1024  # the weight of any other cgroup, such as the agent's, is 1024

# A mount below one of these would hide a part of the image or of Airlock's own mounts.
_TAKEN = ("/bin", "/boot", "/dev", "/etc", "/lib", "/proc", "/run", "/sbin", "/sys", "/usr")


def workspace_key(claims: Claims, rule: str, apart: tuple[str, ...] = ()) -> str:
    """Name the workspace that jobs of one agent, pipeline and rule share, and no others.

    `apart` has further values that they have to share (policy.model.Admitted).
    """
    parties = (claims.agent_name, claims.organization, claims.pipeline, rule, *apart)
    digest = hashlib.sha256("\0".join(parties).encode("utf-8", "surrogateescape")).hexdigest()
    readable = "".join(c if c.isascii() and c.isalnum() else "-" for c in claims.pipeline)
    return f"{readable[:40]}-{digest[:16]}"


def plan(
    job: Job,
    grant: Grant,
    defaults: Sandbox,
    *,
    token: str,
    uid: int,
    image: Image,
    sandbox_directory: Path,
    workspace: Path,
    agent_binary: Path,
) -> SandboxSpec:
    """Return the job's specification. Raises Refused if the agent's paths would hide others."""
    share = shares.of_job(grant, defaults)
    return SandboxSpec(
        name=f"airlock-{token}",
        image=image,
        user=uid,
        group=uid,
        labels={
            LABEL: token,
            "airlock.job-id": job.claims.job_id,
            "airlock.pipeline": job.claims.pipeline,
        },
        mounts=(
            Mount(source=sandbox_directory, target=Path(AIRLOCK)),
            Mount(source=agent_binary, target=Path(BIN / "buildkite-agent")),
            Mount(source=sandbox_directory / "passwd", target=Path("/etc/passwd")),
            Mount(source=sandbox_directory / "group", target=Path("/etc/group")),
            Mount(source=sandbox_directory / "resolv.conf", target=Path("/etc/resolv.conf")),
            *_hosts_mounts(grant, sandbox_directory),
            *_workspace_mounts(job, workspace),
            *_hook_mounts(job, defaults),
        ),
        home=HOME,
        workdir=job.build_path,
        memory=share.memory,
        cpus=share.cpus,
        pids=share.pids,
        tmp=defaults.tmp,
        open_files=defaults.open_files,
        runtime=defaults.runtime,
    )


def _workspace_mounts(job: Job, workspace: Path) -> tuple[Mount, ...]:
    return tuple(
        Mount(source=workspace / name, target=_free(target), writable=True)
        for name, target in agent_settings.trees(job).items()
    )


def _hosts_mounts(grant: Grant, sandbox_directory: Path) -> tuple[Mount, ...]:
    """The names of service containers; the engine takes none for a network that is joined."""
    target = Path("/etc/hosts")
    return (Mount(source=sandbox_directory / "hosts", target=target),) if grant.services else ()


def _hook_mounts(job: Job, defaults: Sandbox) -> tuple[Mount, ...]:
    """Agent hooks run inside only with sandbox.hooks: many expect to run on the host."""
    if not defaults.hooks:
        return ()
    hooks = job.agent.values.get("BUILDKITE_HOOKS_PATH")
    mounted = {AIRLOCK / "agent-hooks": PurePosixPath(hooks)} if hooks else {}
    mounted |= more_hooks(job.agent.values)
    return tuple(
        Mount(source=Path(source), target=Path(target)) for target, source in mounted.items()
    )


def _free(path: Path) -> Path:
    pure = PurePosixPath("/", *path.parts[1:])  # not `//usr`, which the engine takes for `/usr`
    inside = [t for t in (*_TAKEN, str(AIRLOCK), str(BIN), str(HOME)) if pure.is_relative_to(t)]
    if inside or len(pure.parts) < 2 or ".." in pure.parts or not path.is_absolute():
        raise Refused(
            f"the agent's path {str(path)[:200]!r} cannot be mounted in the container",
            hint="build-path, plugins-path and git-mirrors-path in buildkite-agent.cfg must be "
            "directories such as /var/lib/buildkite-agent/builds, outside system directories.",
        )
    return path


def holder_spec(defaults: Sandbox, *, token: str, image: Image) -> SandboxSpec:
    """Return the specification of a holder: it has no mount, and the uid of no job."""
    return SandboxSpec(
        name=f"{HOLDER}-{token}",
        image=image,
        user=defaults.helper_uid,
        group=defaults.helper_uid,
        labels={HOLDER_LABEL: token},
        mounts=(),
        home=HOME,
        workdir=Path("/"),
        memory=32 << 20,
        cpus=0.1,
        pids=16,
        tmp=1 << 20,
        open_files=64,
        runtime=defaults.runtime,
    )


def holder_body(spec: SandboxSpec, seccomp: str, apparmor: str | None = None) -> dict[str, Any]:
    """Return a holder's body: that of a job which only waits, without what a job writes to."""
    body = engine_body(spec, seccomp, apparmor)
    host_config = {**body["HostConfig"], "Tmpfs": {}, "IpcMode": "none", "OomScoreAdj": 0}
    return {
        **body,
        "HostConfig": host_config,
        # Nothing is ever written to its standard input. When the engine stops, with TERM for all
        # containers at once, a job keeps its network for as long as the engine lets it end, which
        # is 10 s: it is killed before its holder, or it would end as if that had been attacked.
        "Entrypoint": ["/bin/sh", "-c", "trap '' TERM; read -r never; exit 1"],
        "StopTimeout": 12,
        "OpenStdin": True,
        "AttachStdout": False,
        "AttachStderr": False,
    }


def joined_body(
    spec: SandboxSpec, seccomp: str, apparmor: str | None, holder: str
) -> dict[str, Any]:
    """Return the body of a container that joins the network namespace of another one, by its id.

    The engine takes the host name from that one, and refuses a body that has one too.
    """
    body = engine_body(spec, seccomp, apparmor)
    del body["Hostname"]
    return {**body, "HostConfig": {**body["HostConfig"], "NetworkMode": f"container:{holder}"}}


def engine_body(spec: SandboxSpec, seccomp: str, apparmor: str | None = None) -> dict[str, Any]:
    """Return the specification as the body of the Engine API's container create call.

    `seccomp` is the text of the profile, `apparmor` the name of one where the engine applies them.
    """
    return {
        "Image": spec.image.id,
        "Entrypoint": ["/bin/sh", str(AIRLOCK / "entry")],
        "Cmd": [],
        "WorkingDir": str(spec.workdir),
        "Hostname": "airlock",
        "Labels": dict(spec.labels),
        # Promise 8: bytes arrive as written; the bootstrap gives commands a PTY of their own.
        "Tty": spec.terminal,
        "OpenStdin": spec.terminal,
        "AttachStdin": spec.terminal,
        "AttachStdout": True,
        "AttachStderr": True,
        # Promise 3, 4: no process inside is root, not even root of a user namespace.
        "User": f"{spec.user}:{spec.group}",
        "Volumes": {},
        "Healthcheck": {"Test": ["NONE"]},
        "StopSignal": "SIGTERM",
        "HostConfig": _host_config(spec, seccomp, apparmor),
    }


def _host_config(spec: SandboxSpec, seccomp: str, apparmor: str | None) -> dict[str, Any]:
    profiles = [f"seccomp={seccomp}", *([f"apparmor={apparmor}"] if apparmor else [])]
    return {
        # Promise 3: no capability, so no raw socket, route, address or firewall rule.
        "CapDrop": ["ALL"],
        # And only the system calls that builds need (reasons in seccomp.json).
        "SecurityOpt": ["no-new-privileges:true", *profiles],
        "Privileged": False,
        "Devices": [],
        # Promise 3, 5: its own namespaces, and the one network that the ruleset covers.
        "NetworkMode": NETWORK,
        "IpcMode": "private",
        "CgroupnsMode": "private",
        # Promise 5, 6: the host's users, also where the engine maps those of other containers
        # (userns-remap). Then a job's uid is in nobody's range, its files on this host belong to
        # it, and what is root's alone stays so (docs/security.md#user-namespaces).
        "UsernsMode": "host",
        "PublishAllPorts": False,
        # Promise 6: writable are only the rule's workspace and what ends with the job.
        "ReadonlyRootfs": True,
        "Mounts": [
            *map(_bind, spec.mounts),
            *map(_volume, spec.volumes),
            *_volumes_in_memory(spec),
        ],
        "Tmpfs": _tmpfs(spec),
        # Promise 7: it is never restarted, and PID 1 reaps processes and forwards signals.
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,
        "Init": True,
        # Promise 4: output goes to the agent and is not kept on this host.
        "LogConfig": {"Type": "none"},
        **_limits(spec),
        "Runtime": spec.runtime,
    }


def _limits(spec: SandboxSpec) -> dict[str, Any]:
    """Limits, so that no job starves the agent or other jobs; the kernel kills the job first."""
    return {
        # A quota alone lets a job with one processor compete with as much weight as one with four.
        "CpuShares": min(max(round(spec.cpus * SHARES_PER_CPU), 2), 262_144),  # the kernel's bounds
        "Memory": spec.memory,
        "MemorySwap": spec.memory,
        "CpuPeriod": 100_000,  # NanoCpus fails if the machine has fewer; a quota does not
        "CpuQuota": int(spec.cpus * 100_000),
        "PidsLimit": spec.pids,
        "OomScoreAdj": 500,
        "ShmSize": 1 << 30,
        "Ulimits": [
            {"Name": "nofile", "Soft": spec.open_files, "Hard": spec.open_files},
            # 0 would still run a core_pattern that is a pipe, on the host and as root.
            # The kernel takes 1 for "no dump at all" (core(5), fs/coredump.c).
            {"Name": "core", "Soft": 1, "Hard": 1},
        ],
    }


def _bind(mount: Mount) -> Mapping[str, Any]:
    return {
        "Type": "bind",
        "Source": str(mount.source),
        "Target": str(mount.target),
        "ReadOnly": not mount.writable,
        "BindOptions": {"Propagation": "rprivate"},
    }


def _volume(volume: Volume) -> Mapping[str, Any]:
    return {
        "Type": "volume",
        "Source": volume.name,
        "Target": str(volume.target),
        "VolumeOptions": {"NoCopy": True},
    }


def _volumes_in_memory(spec: SandboxSpec) -> list[Mapping[str, Any]]:
    """Return the engine's mounts for the volumes that the image declares.

    The engine would create them on its own disk, which no budget of ours bounds, and whoever
    removes the container would wait for the deletion of their files.
    """
    taken = {*map(str, (mount.target for mount in spec.mounts)), *_tmpfs(spec)}
    paths = sorted({str(PurePosixPath(volume)) for volume in spec.image.volumes} - taken)
    options = {"SizeBytes": spec.tmp, "Mode": 0o1777}
    return [{"Type": "tmpfs", "Target": path, "TmpfsOptions": options} for path in paths]


def _tmpfs(spec: SandboxSpec) -> dict[str, str]:
    """Directories in memory. exec: hook wrappers and build tools run from there."""
    own = f"rw,exec,nosuid,nodev,uid={spec.user},gid={spec.group},mode=0700"
    return {
        "/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={spec.tmp}",  # noqa: S108
        str(spec.home): f"{own},size={spec.tmp}",
        str(SCRATCH): f"{own},size=64m",
    }
