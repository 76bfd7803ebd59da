"""A builder, from its image to its socket in the job's sandbox directory, and its end.

It is started once the job's container has been proven, whose network namespace it joins, and
before the job's code runs. It becomes what can build only after Airlock has seen how its first
program is confined.
"""

import os
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.errors import WrongConfiguration
from bootstrap.host import trash
from bootstrap.host.builds_settings import Builds
from bootstrap.host.config import Host
from bootstrap.log import JobLog
from bootstrap.policy.services import MOST
from bootstrap.record import Record
from bootstrap.sandbox import confinement, engine, terminals
from bootstrap.sandbox.builds import control, plan, report, users
from bootstrap.sandbox.builds.ending import Ending
from bootstrap.sandbox.container import Opened
from bootstrap.sandbox.images.image import provided
from bootstrap.sandbox.leases import first_process
from bootstrap.sandbox.leases.builder import directory_of
from bootstrap.sandbox.leases.lease import Lease
from bootstrap.sandbox.leases.slots import CACHE
from bootstrap.sandbox.limits import Limits
from bootstrap.sandbox.model import Image, SandboxSpec
from bootstrap.sandbox.network import addresses
from bootstrap.sandbox.shares import Share
from bootstrap.sandbox.workspace import SandboxDirectory
from bootstrap.text import printable

if TYPE_CHECKING:
    from bootstrap.sandbox.engine_client import Client

_READ = 64 << 10  # bytes of a builder's log that are read if it ends before the job
_LAST = 400  # characters of those that are shown: a line of the job's log has no place for more


@dataclass(frozen=True, kw_only=True, slots=True)
class Builder:
    """A BuildKit that runs, and the variables by which the job's clients find it."""

    variables: Mapping[str, str]
    facts: Mapping[str, object]  # of it, for the record


def image_of(client: "Client", host: Host, log: JobLog) -> Image:
    """Return the image of BuildKit, pulled if need be, once this host can build at all.

    Raises WrongConfiguration, and what `provided` raises.
    """
    users.require(host)
    assert host.builds is not None  # noqa: S101 - for the type checker
    return provided(client, host.builds.image, host, log, key="builds.image of airlock.toml")


@contextmanager
def opened_builder(
    client: "Client",
    host: Host,
    lease: Lease,
    *,
    container: Opened,
    directory: SandboxDirectory,
    image: Image,
    share: Share,
    resolver: str,
    tree: Path,
    log: JobLog,
    record: Record,
) -> Iterator[Builder]:
    """Start a builder for the job in `container`, proven. `tree` is the job's workspace.

    `resolver` is the job's own, "" for the host's.

    The log gets a line if the cache was discarded; at the end log and record get whether BuildKit
    has ended before the job, and what it used up. The lease ends and removes it. Raises
    CannotStart, WrongConfiguration.
    """
    assert host.builds is not None  # noqa: S101 - for the type checker: users.require was called
    own = directory_of(lease.directory)
    own.mkdir(mode=0o755)
    mine = users.of_slot(host, lease.uid)
    spec = plan.builder_spec(
        share, host.sandbox, token=lease.token, users=mine, image=image,
        directory=own,
        cache=cache(host.paths.state, tree, mine, log.note), program=program(),
        resolvers=directory.path / "resolv.conf",
    )  # fmt: skip
    (own / plan.SETTINGS).write_bytes(plan.settings(host.builds.cache, resolver))
    (own / plan.SETTINGS).chmod(0o444)
    output = os.memfd_create("buildkitd", os.MFD_CLOEXEC)
    with ExitStack() as held:
        held.callback(os.close, output)
        process, limits = held.enter_context(
            _started(
                client, spec, container, own=own, inside=directory.path, uid=lease.uid, mine=mine,
                slots=host.sandbox.slots, output=output,
            )
        )  # fmt: skip
        (directory.path / "prepare").write_bytes(plan.preparation())
        (directory.path / "prepare").chmod(0o444)
        ending = Ending(
            container.guard.process, process, used=limits.used,
            outcome=partial(engine.outcome_known, host.sandbox.docker, spec.name),
        )  # fmt: skip
        try:
            yield Builder(variables=plan.variables(), facts=facts(host.builds, spec))
        finally:
            ended = ending.close()
        if ended.early:
            log.alert(report.early(ended, last_of(output, log.masked)))
        for sentence in report.sentences(spec, ended):
            log.alert(f"{sentence}. The exit status is the job's own")
        record.builder_ended(asdict(ended))


@contextmanager
def _started(
    client: "Client",
    spec: SandboxSpec,
    container: Opened,
    *,
    own: Path,
    inside: Path,
    uid: int,
    mine: range,
    slots: int,
    output: int,
) -> Iterator[tuple[int, Limits]]:
    """Start the container, confirm that it is confined, and let it go on.

    Yields its pidfd, and what it has used up.
    """
    job = container.running.id
    with ExitStack() as held:
        with control.explained(), control.listening(own, plan.CONTROL, mine.start) as mapped:
            body = plan.builder_body(spec, confinement.profile(), engine.apparmor(client), job)
            made = engine.create_container(client, spec, body)
            pid = engine.start_beside(client, made, "the container of BuildKit")
            process = first_process.opened(own, pid)
            if process is None:
                raise control.ended(mapped)
            held.callback(os.close, process)
            connection, peer = control.connected(mapped)
            held.enter_context(connection)
        with control.explained():
            container.guard.kill_with_it(os.dup(process))
            asking = os.open(f"/proc/{peer}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            held.callback(os.close, asking)
            confine(pid, peer, asking, spec.runtime)
            require_network(pid, container.running.pid)
            # Of its own, beside those of the job and of as many services as there may be.
            terminals.limit(pid, slots * (2 + MOST))
            control.map_users(asking, mine)
            with control.listening(inside, plan.SOCKET, uid) as listener:
                control.begin(connection, (listener.fileno(), output))
        yield process, held.enter_context(closing(Limits(pid, plan.in_memory(spec))))


def confine(first: int, peer: int, asking: int, runtime: str) -> None:
    """Check the container's first process and the one that asks for users. Raises CannotStart.

    The latter has its own user namespace, in which it has every capability, and outside none.
    """
    wrong = [
        *confinement.wrong_status(first),
        *confinement.wrong_status(peer, confinement.EXPECTED_OF_BUILDERS),
    ]
    namespaces = [
        (str(Path(f"/proc/{first}/ns/{kind}").readlink()), os.readlink(f"ns/{kind}", dir_fd=asking))
        for kind in ("pid", "user")
    ]
    if namespaces[0][0] != namespaces[0][1]:
        wrong.append("another container asks for its users")
    if namespaces[1][0] == namespaces[1][1]:
        wrong.append("it has no user namespace of its own")
    if wrong:
        raise confinement.unconfined("; ".join(wrong[:4]), runtime)


def require_network(pid: int, job: int) -> None:
    """Raise CannotStart unless the process has the network that the proof is about, the job's."""
    if addresses.namespace(pid) != addresses.namespace(job):
        raise control.failed("its container is not in the job's network")


def cache(state: Path, tree: Path, mine: range, note: Callable[[str], object]) -> Path:
    """Return the cache of a workspace, made if it is missing. `mine` are its users.

    A job in another slot has other users: what it finds is discarded, because giving it other
    owners would take as long as earlier jobs want. Raises CannotStart.
    """
    path = tree / CACHE
    if path.exists() and path.stat(follow_symlinks=False).st_uid != mine.start:
        note("the cache of image builds was discarded: an earlier job ran in another slot")
        trash.discard(state, path)
        trash.empty_in_background(state)
    path.mkdir(mode=0o700, exist_ok=True)
    os.chown(path, mine.start, mine.start, follow_symlinks=False)
    return path


def last_of(output: int, masked: Callable[[str], str]) -> str:
    """Return the end of a log, on one line. What is a secret is masked before it is cut off."""
    size = os.fstat(output).st_size
    text = os.pread(output, _READ, max(0, size - _READ)).decode(errors="replace")
    return printable(masked(text), limit=_READ)[-_LAST:]


def program() -> Path:
    """Return a builder's first program: beside `airlock`, or built in a checkout."""
    installed = Path(sysconfig.get_path("scripts"), plan.PROGRAM)
    built = Path(__file__).parents[3] / "build" / plan.PROGRAM
    for path in (built, installed):
        if path.is_file():
            return path
    raise WrongConfiguration(
        f"{plan.PROGRAM} is not installed: it is neither {installed} nor {built}",
        hint="It comes with the package; in a checkout of the repository run `make builder`.",
    )


def facts(builds: Builds, spec: SandboxSpec) -> dict[str, object]:
    """Return what a record has of a builder."""
    return {
        "image": spec.image.id,
        "reference": spec.image.reference,
        "digests": list(spec.image.digests),
        "user": spec.user,
        "memory": spec.memory,
        "cpus": spec.cpus,
        "pids": spec.pids,
        "cache": builds.cache,
    }
