"""Checks of Docker Engine: its version, options, socket and protections."""

from collections.abc import Iterator, Mapping

from bootstrap.doctor.model import Check, Verdict, fail, known, ok, warn
from bootstrap.doctor.snapshot import Snapshot
from bootstrap.doctor.versions import version

ENGINE, API = (20, 10), (1, 41)
_RESTART = "and `systemctl restart docker` while no job runs"


def _engine(snapshot: Snapshot) -> Verdict:
    engine = known(snapshot.engine)
    seen = f"{engine.version} (API {engine.api})"
    if version(engine.version) < ENGINE or version(engine.api) < API:
        return fail(seen, "Install Docker Engine 20.10 or newer.")
    return ok(seen)


def _wrong_options(options: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield each option of dockerd because of which jobs fail or anybody is root, and its fix."""
    hosts = options.get("hosts")
    for host in hosts if isinstance(hosts, list) else ():
        if str(host).startswith("tcp:") and options.get("tlsverify") is not True:
            yield (
                f"it listens on {host} without TLS: who reaches it is root",
                (f'remove "{host}" from hosts'),
            )
    for name, why in (
        ("iptables", "containers have no way out of this host"),
        ("ip-forward", "containers have no way out of this host"),
        ("ip-masq", "containers have no way out of this host"),
    ):
        if options.get(name) is False:
            yield f"{name} is false: {why}", f'"{name}": true'
    if options.get("selinux-enabled") is True:
        yield (
            "selinux-enabled is true: containers cannot read what Airlock mounts",
            ('"selinux-enabled": false'),
        )
    profile = options.get("seccomp-profile")
    if profile == "unconfined":
        yield "seccomp-profile is unconfined", 'remove "seccomp-profile"'


def _options(snapshot: Snapshot) -> Verdict:
    engine = snapshot.docker
    options = known(engine.options)
    wrong = list(_wrong_options(options))
    if wrong:
        return fail(
            "; ".join(what for what, _ in wrong),
            f"In /etc/docker/daemon.json: {', '.join(fix for _, fix in wrong)}; {_RESTART}.",
        )
    if engine.insecure_registries:
        names = ", ".join(engine.insecure_registries)
        return warn(
            f"registries without TLS: {names}",
            f'Remove them from "insecure-registries" in /etc/docker/daemon.json, {_RESTART}.',
        )
    set_ = ", ".join(sorted(options)) or "none is set"
    return ok(f"options: {set_}")


def _socket(snapshot: Snapshot) -> Verdict:
    socket = known(snapshot.docker.socket)
    if socket.mode & 0o002:
        return fail(
            f"everybody may use Docker's socket (mode {socket.mode:04o})",
            "`chmod o-rw /var/run/docker.sock`, and find what sets it so (docker.socket's "
            "SocketMode=).",
        )
    members = socket.members
    if members:
        listed = ", ".join(sorted(members))
        return warn(
            f"in the group {socket.group}, which is as much as root: {listed}",
            f"`gpasswd --delete USER {socket.group}` for each user who need not be root.",
        )
    return ok(f"mode {socket.mode:04o}, nobody in the group {socket.group}")


def _seccomp(snapshot: Snapshot) -> Verdict:
    if "seccomp" in snapshot.docker.security:
        return ok("the engine applies profiles")
    return fail(
        "the engine does not list seccomp under Security Options",
        "Run a kernel with CONFIG_SECCOMP_FILTER and an engine built with seccomp: the packages of "
        "every distribution have both.",
    )


def _apparmor(snapshot: Snapshot) -> Verdict:
    uses = "apparmor" in snapshot.docker.security
    if uses:
        return ok("containers are under docker-default")
    if snapshot.machine.has_apparmor:
        return warn(
            "the kernel has AppArmor, and Docker does not use it",
            "Install the package apparmor (it has apparmor_parser), and restart Docker while no "
            "job runs.",
        )
    return ok("this kernel has none")


def _selinux(snapshot: Snapshot) -> Verdict:
    if "selinux" in snapshot.docker.security:
        return fail(
            "Docker labels containers (selinux-enabled)",
            'Set "selinux-enabled": false in /etc/docker/daemon.json, and restart Docker while no '
            "job runs: Airlock mounts its directories without labels.",
        )
    if snapshot.machine.selinux_enforcing:
        return ok("enforcing on this host; Docker does not label containers")
    return ok("not enforcing")


def _userns(snapshot: Snapshot) -> Verdict:
    mapped = "userns" in snapshot.docker.security
    return ok(
        "Docker maps users; Airlock's own containers keep the host's"
        if mapped
        else "Docker maps no users"
    )


def _runtime(snapshot: Snapshot) -> Verdict:
    runtime, runtimes = (
        snapshot.configured.sandbox.runtime,
        snapshot.docker.runtimes,
    )
    if runtime not in runtimes:
        return fail(
            f"sandbox.runtime is {runtime}, and the engine has {', '.join(sorted(runtimes))}",
            'Set runtime = "runc" in [sandbox] of airlock.toml.',
        )
    if runtime != "runc":
        return warn(
            f"sandbox.runtime is {runtime}; only runc is tested",
            'Unless that is intended, set runtime = "runc" in [sandbox] of airlock.toml.',
        )
    return ok(runtime)


def _limits(snapshot: Snapshot) -> Verdict:
    lacks = snapshot.docker.lacks
    if not lacks:
        return ok("memory, processors and processes can be limited")
    return fail(
        f"the engine cannot set: {', '.join(lacks)}",
        "Boot with the control groups for memory, cpu and pids (`cat /proc/cgroups`); on Debian "
        "with cgroup v1 that is cgroup_enable=memory on the kernel's command line.",
    )


TITLE = "Docker Engine"
CHECKS = (
    Check(
        name="engine", judge=_engine, what="Docker Engine answers, and is 20.10 or newer",
        why="Every job is a container: without it each ends with 125.",
    ),
    Check(
        name="dockerd-options", judge=_options,
        what="No option of dockerd breaks jobs or opens the host",
        why="Who reaches Docker is root on this host, and some options leave containers without a "
        "network.",
    ),
    Check(
        name="docker-socket", judge=_socket,
        what="Nobody but root may use Docker's socket",
        why="Whoever may start containers can read this host's files and its AWS credentials.",
    ),
    Check(
        name="seccomp", judge=_seccomp, what="The engine applies seccomp profiles",
        why="Without one a job reaches all system calls of the kernel. Jobs end with 125.",
    ),
    Check(
        name="apparmor", judge=_apparmor, what="Where the kernel has AppArmor, Docker uses it",
        why="It is a second protection of the host's files.",
    ),
    Check(
        name="selinux", judge=_selinux, what="Docker does not label containers for SELinux",
        why="The container could not read what Airlock mounts, and every job ends with 125.",
    ),
    Check(
        name="userns-remap", judge=_userns, what="Whether Docker maps users; both are supported",
        why="It changes who owns files in images, not what a job may do.",
    ),
    Check(
        name="runtime", judge=_runtime, what="The engine has the runtime of sandbox.runtime",
        why="Without it no container starts.",
    ),
    Check(
        name="limits", judge=_limits, what="The engine can limit memory, processors and processes",
        why="Without limits one job takes the memory of all others and of the host.",
    ),
)  # fmt: skip
