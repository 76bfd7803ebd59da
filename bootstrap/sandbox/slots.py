"""A uid for every running job: the kernel counts per user what jobs would take from each other.

inotify instances and watches, pending signals, message queues, pipe buffers, keys, user namespaces
and processes all have limits per uid of the host, whatever container they are used in. A slot is
one uid of `sandbox.uids`, held by a lock on a file that ends with its holder, and not given away
before the lease of the job that had it is cleared.
"""

import fcntl
import grp
import hashlib
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bootstrap.errors import CannotStart, WrongConfiguration
from bootstrap.host.config import Host, Sandbox


@contextmanager
def slot(host: Host, token: str, *, tree: Path, agent: str) -> Iterator[int]:
    """Hold a uid that no other job has, until this closes and the lease `token` is cleared.

    The owner of `tree`, which the job will use, comes first, so that nothing need change hands;
    then the others, beginning where jobs of this agent usually do. Raises CannotStart if all are
    taken, WrongConfiguration if one belongs to an account of this host.
    """
    _refuse_accounts(host.sandbox)
    directory = host.paths.runtime / "slots"
    directory.mkdir(mode=0o700, exist_ok=True)
    for uid in in_order(host.sandbox.uids, preferred=owner(tree), agent=agent):
        descriptor = _taken(directory / str(uid), host.paths.runtime / "jobs", token)
        if descriptor is not None:
            try:
                _refuse_account(uid)
                yield uid
            finally:
                os.close(descriptor)
            return
    raise CannotStart(
        f"all {host.sandbox.slots} slots of this host are taken by other jobs",
        hint="sandbox.slots in airlock.toml says how many jobs run at once: raise it, or let "
        "fewer agents run here. `airlock gc` clears what dead jobs still hold.",
    )


def owner(tree: Path) -> int | None:
    """Return whose the trees below `tree` are; None if there are none or they changed hands."""
    owners = {path.stat(follow_symlinks=False).st_uid for path in _below(tree)}
    return owners.pop() if len(owners) == 1 else None


def _below(tree: Path) -> Iterator[Path]:
    try:
        yield from tree.iterdir()
    except FileNotFoundError:
        return


def in_order(uids: range, *, preferred: int | None, agent: str) -> Iterator[int]:
    """Yield every uid once: the preferred one, then on from where this agent's jobs begin."""
    first = int.from_bytes(hashlib.sha256(agent.encode(errors="replace")).digest()[:8]) % len(uids)
    if preferred is not None and preferred in uids:
        yield preferred
    yield from (uid for uid in (*uids[first:], *uids[:first]) if uid != preferred)


def _taken(path: Path, jobs: Path, token: str) -> int | None:
    """Lock the slot at `path` for `token`; None if a job has it, or had it and is not cleared."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        previous = os.pread(descriptor, 256, 0).decode()
        if not previous or not (jobs / previous).exists():
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, token.encode(), 0)
            return descriptor
    except BlockingIOError:
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _refuse_accounts(sandbox: Sandbox) -> None:
    """Look through what the host lists; directory services often list nobody, see below."""
    reserved = {sandbox.helper_uid, *sandbox.uids}
    names = {account.pw_uid: f"the user {account.pw_name}" for account in pwd.getpwall()}
    names |= {entry.gr_gid: f"the group {entry.gr_name}" for entry in grp.getgrall()}
    if found := sorted(reserved & names.keys()):
        raise _taken_by(names[found[0]], found[0])


def _refuse_account(uid: int) -> None:
    """Ask for the one uid that the job will have: that is answered even where none are listed."""
    try:
        account = pwd.getpwuid(uid)
    except KeyError:
        return
    raise _taken_by(f"the user {account.pw_name}", uid)


def _taken_by(name: str, number: int) -> WrongConfiguration:
    """A job that shares a number with an account could read whatever that account may read."""
    return WrongConfiguration(
        f"{name} of this host has the number {number}, which is one of those that jobs run as",
        hint="Set sandbox.first-uid in airlock.toml to the first of as many numbers as "
        "sandbox.slots says that no user or group has (`getent passwd`, `getent group`); the one "
        "before it is Airlock's too.",
    )
