"""Stop the job that has written most when the disk of all workspaces is nearly full.

The wrapper of every running job watches the filesystem. Below `storage.floor` one wrapper at a time
measures what each job has written since it began, and marks the job that has written most; that
job's own watch stops it. If the disk stays full, because a job hid what it wrote, the next one is
stopped.

The same watch stops a job for which the kernel keeps messages that it does not read (netlink): this
memory counts for no limit, and each of its sockets can have some. To look at each takes the
watch's time, so their number has a limit too.
"""

import fcntl
import json
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from operator import itemgetter
from pathlib import Path

from bootstrap import files, process
from bootstrap.concurrent import Begun
from bootstrap.errors import CannotStart
from bootstrap.host import trash
from bootstrap.host.config import Host
from bootstrap.host.storage import space
from bootstrap.host.trees import discard_unused
from bootstrap.libc import kind_of_filesystem
from bootstrap.sandbox.leases.lease import Lease
from bootstrap.sandbox.supervision.fullness import Fullness

PERIOD = 0.5  # seconds between two checks of the filesystem
SETTLE = 15.0  # seconds for the space of a stopped job to become free
_MEASURING = 10  # seconds for one job's tree; after that, the size counted so far is used
_SCANNING = 3.0  # seconds for the deleted files that one job's processes hold open
UNREAD = 64 << 20  # bytes of such messages; what reads them has some KiB at a time
SOCKETS = 10_000  # of netlink; programs have a few
_OVERLAY = 0x794C7630  # <linux/magic.h>: OVERLAYFS_SUPER_MAGIC
_UID = re.compile(rb"\nUid:\t([0-9]+)\t")  # proc(5): of /proc/PID/status
_WRITES, _EVICTED = "writes.json", "evicted"


class Watch:
    """`descriptor` becomes readable when this job has to be stopped; `why` then has the reason."""

    def __init__(self, host: Host, lease: Lease, fullness: Fullness, pid: int) -> None:
        self.fullness = fullness
        self._pid = pid
        self.descriptor, self._writer = os.pipe2(os.O_CLOEXEC)
        self.why = ""
        self._host = host
        self._mark = lease.directory / _EVICTED
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="disk", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the watch. Its thread may still finish a measurement, which changes nothing."""
        self._stopping.set()
        self.fullness.close()
        os.close(self.descriptor)

    def _run(self) -> None:
        try:
            while not self._mark.exists() and not self._stopping.wait(PERIOD):
                with suppress(OSError, CannotStart):  # try again after PERIOD
                    self._check()
            if not self._stopping.is_set():
                self.why = self._mark.read_text()
        finally:
            os.close(self._writer)

    def _check(self) -> None:
        self.fullness.look()
        with (
            suppress(OSError),  # the container has just ended
            Path(f"/proc/{self._pid}/net/netlink").open() as table,
        ):
            if why := excess(table):
                _mark(self._mark.parent, why)
                return
        least = self._host.storage
        found = space(self._host.paths.state)
        if lack := found.lacks(least.floor, least.floor_inodes):
            mark_largest(self._host.paths.runtime, self._host.paths.state, lack)


@contextmanager
def watched(host: Host, lease: Lease, workspace: Path, *, pid: int) -> Iterator[Watch]:
    """Watch the disk for a job that writes to `workspace` from now on.

    `pid` is its container's first process.
    """
    facts = {
        "uid": lease.uid,
        "builder": _builder(host, lease),
        "workspace": str(workspace),
        "since": time.time(),
    }
    files.write(lease.directory / _WRITES, json.dumps(facts).encode())
    watch = Watch(host, lease, Fullness(pid, host.paths.state), pid)
    try:
        yield watch
    finally:
        watch.close()


def excess(table: Iterable[str]) -> str:
    """Return what a job has too much of in /proc/PID/net/netlink, "" if nothing."""
    sockets = list(islice(table, 1, SOCKETS + 2))  # after the heading
    if len(sockets) > SOCKETS:
        return f"it has more than {SOCKETS} netlink sockets: have it close them"
    if (found := unread(sockets)) > UNREAD:
        return (
            f"its netlink sockets have {found >> 20} MiB of messages that it does not read, and "
            f"may have {UNREAD >> 20} MiB, as this memory counts for no limit: have it read them"
        )
    return ""


def unread(sockets: Iterable[str]) -> int:
    """Return the bytes of all messages that wait to be read, the column Rmem."""
    return sum(int(line.split()[4]) for line in sockets)


def _builder(host: Host, lease: Lease) -> tuple[int, int] | None:
    """Return the uids of the job's builder, the first and the end, if it may have one."""
    if host.builds is None:
        return None
    users = host.builds.uids_of(lease.uid - host.sandbox.first_uid)
    return users.start, users.stop


def mark_largest(runtime: Path, state: Path, lack: str) -> None:
    """Mark the job that has written most; `lack` is the reason to put in the mark.

    Does nothing if another process is measuring, or if one was marked within the last SETTLE
    seconds. Takes up to some 13 seconds.
    """
    descriptor = os.open(runtime / "eviction.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _just_marked(os.fstat(descriptor)):
            return
        jobs = [job for path in runtime.glob("jobs/*") if (job := _read(path)) is not None]
        if jobs:
            written, largest = _largest(jobs, state.stat().st_dev)
            _mark(
                largest.directory,
                f"the disk of {state} is nearly full ({lack}), and of all running jobs this one "
                f"has written most: {written >> 20} MiB",
            )
            os.pwrite(descriptor, largest.directory.name.encode(), 0)
    except BlockingIOError:
        return
    finally:
        os.close(descriptor)


def _largest(jobs: "list[_Job]", device: int) -> "tuple[int, _Job]":
    """Measure all jobs in parallel: one that takes long must not delay the others."""
    sizes = [Begun(partial(job.written, device), "measuring a workspace") for job in jobs]
    return max(((size.result(), job) for size, job in zip(sizes, jobs, strict=True)),
               key=itemgetter(0))  # fmt: skip


def _just_marked(last: os.stat_result) -> bool:
    return last.st_size > 0 and 0 <= time.time() - last.st_mtime < SETTLE


def discard_workspace(host: Host, workspace: Path) -> None:
    """Discard the stopped job's workspace unless another job uses it. Raises CannotStart."""
    if discard_unused(host.paths.state, workspace):
        trash.empty_in_background(host.paths.state)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    directory: Path
    users: tuple[range, ...]
    workspace: Path
    since: float

    def written(self, device: int) -> int:
        """Return the bytes of files changed since the job began, deleted but open ones included."""
        return _in_tree(self.workspace, self.since) + _deleted(self.users, device)


def _read(directory: Path) -> _Job | None:
    """Return a job that has begun to write and is not marked yet, else None."""
    try:
        facts = json.loads((directory / _WRITES).read_text())
    except FileNotFoundError:
        return None
    if (directory / _EVICTED).exists():
        return None
    return _Job(
        directory=directory,
        users=(
            range(facts["uid"], facts["uid"] + 1),
            range(*(facts.get("builder") or (0, 0))),  # an older version has none
        ),
        workspace=Path(facts["workspace"]),
        since=facts["since"],
    )


def _mark(directory: Path, why: str) -> None:
    files.write(directory / _EVICTED, why.encode())


def _in_tree(workspace: Path, since: float) -> int:
    """Sum by ctime, which a job cannot set."""
    script = (
        'timeout "$1" find "$2" -xdev -newerct "@$3" -printf "%b\\n" 2>/dev/null'
        " | awk '{ blocks += $1 } END { printf \"%d\", blocks * 512 }'"
    )
    arguments = ["sh", "-c", script, "sh", str(_MEASURING), str(workspace), f"{since:.3f}"]
    return int(process.run(arguments, timeout=_MEASURING + 5) or 0)


def _deleted(users: Sequence[range], device: int) -> int:
    """Return the bytes of deleted files that processes of `users` have open or mapped.

    Those on `device`, and those of overlays: the steps of a builder write to these, and what is
    below them is on `device`.
    """
    deadline = time.monotonic() + _SCANNING
    sizes: dict[tuple[int, int], int] = {}
    for path in _open_files(users):
        with suppress(OSError):
            found = path.stat()
            if found.st_nlink == 0 and (
                found.st_dev == device or kind_of_filesystem(path) == _OVERLAY
            ):
                sizes[found.st_dev, found.st_ino] = found.st_blocks * 512
        if time.monotonic() > deadline:
            break
    return sum(sizes.values())


def _open_files(users: Sequence[range]) -> Iterator[Path]:
    for process_directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # Not the owner of the directory: a process can make that root. Its name is any bytes.
            uid = _UID.search((process_directory / "status").read_bytes())
            if uid and any(int(uid[1]) in some for some in users):
                # A thread may have its own descriptors, and outlive the first thread.
                yield from process_directory.glob("task/*/fd/*")
                yield from (process_directory / "map_files").iterdir()
