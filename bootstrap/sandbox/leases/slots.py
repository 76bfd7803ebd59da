"""A uid for every running job, because the kernel limits many resources per uid of the host.

These are inotify instances and watches, pending signals, message queues, pipe buffers, keys, user
namespaces and processes, whatever container uses them. A slot is one uid of `sandbox.uids`: a file
lock that ends with its holder. It is free once the lease of the job that had it is cleared.
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
from bootstrap.sandbox.leases.subordinate import refuse_overlap

CACHE = "buildkit"  # in a workspace, of image builds: its owner has no part in the choice


@contextmanager
def slot(host: Host, token: str, *, tree: Path, agent: str) -> Iterator[int]:
    """Yield a uid that no other job has until this closes and the lease `token` is cleared.

    The owner of `tree`, the workspace, is tried first, which saves a change of owner; then the
    others, from a start that depends on the agent's name. Raises CannotStart if all are taken,
    WrongConfiguration if an account of this host has one of them, or may give it to its processes.
    """
    require_free(host.sandbox)
    directory = host.paths.runtime / "slots"
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
        hint="sandbox.slots in airlock.toml is the number of jobs that run at once: raise it, or "
        "run fewer agents here. `airlock gc` frees the slots of dead jobs.",
    )


def require_free(sandbox: Sandbox) -> None:
    """Raise WrongConfiguration if an account of this host has a number that is reserved for jobs.

    Also if one may give such a number to its processes. Directory services may list no accounts.
    """
    _refuse_accounts(sandbox)
    refuse_overlap(range(sandbox.helper_uid, sandbox.uids.stop))


def owner(tree: Path) -> int | None:
    """Return the uid that owns all entries of `tree`; None if it has none or several owners."""
    trees = (path for path in _below(tree) if path.name != CACHE)
    owners = {path.stat(follow_symlinks=False).st_uid for path in trees}
    return owners.pop() if len(owners) == 1 else None


def _below(tree: Path) -> Iterator[Path]:
    try:
        yield from tree.iterdir()
    except FileNotFoundError:
        return


def in_order(uids: range, *, preferred: int | None, agent: str) -> Iterator[int]:
    """Yield every uid once: the preferred one first, then from a start that depends on `agent`."""
    first = int.from_bytes(hashlib.sha256(agent.encode(errors="replace")).digest()[:8]) % len(uids)
    if preferred is not None and preferred in uids:
        yield preferred
    yield from (uid for uid in (*uids[first:], *uids[:first]) if uid != preferred)


def _taken(path: Path, jobs: Path, token: str) -> int | None:
    """Lock the slot at `path` for `token`; None if a job has it or is not cleared yet."""
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as failed:
        raise _unusable(path, failed) from failed
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        previous = os.pread(descriptor, 256, 0).decode()
        if not previous or not (jobs / previous).exists():
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, token.encode(), 0)
            return descriptor
    except BlockingIOError:
        pass
    except OSError as failed:
        os.close(descriptor)
        raise _unusable(path, failed) from failed
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _unusable(path: Path, failed: OSError) -> CannotStart:
    return CannotStart(
        f"the slot {path} could not be taken: {failed.strerror}",
        hint="Is the tmpfs of paths.runtime full (`df -h -i`)?",
    )


def _refuse_accounts(sandbox: Sandbox) -> None:
    """Check all listed accounts. Directory services often list none: see `_refuse_account`."""
    reserved = {sandbox.helper_uid, *sandbox.uids}
    names = {account.pw_uid: f"the user {account.pw_name}" for account in pwd.getpwall()}
    names |= {entry.gr_gid: f"the group {entry.gr_name}" for entry in grp.getgrall()}
    if found := sorted(reserved & names.keys()):
        raise _taken_by(names[found[0]], found[0])


def _refuse_account(uid: int) -> None:
    """Look up the one uid of this job: directory services answer that even if they list none."""
    try:
        account = pwd.getpwuid(uid)
    except KeyError:
        return
    raise _taken_by(f"the user {account.pw_name}", uid)


def _taken_by(name: str, number: int) -> WrongConfiguration:
    """A job that shares a number with an account could read whatever that account may read."""
    return WrongConfiguration(
        f"{name} of this host has the number {number}, which is reserved for jobs",
        hint="Set sandbox.first-uid in airlock.toml so that it, the sandbox.slots numbers from it "
        "on, and the one before it belong to no user and no group (`getent passwd`, `getent "
        "group`).",
    )
