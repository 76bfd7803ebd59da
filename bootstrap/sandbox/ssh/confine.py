"""Start the real ssh-agent isolated: own namespaces, own uid, no capability, few system calls.

    python3 -I -S confine.py PARENT UID DIRECTORY PROGRAM [ARGUMENT...]  < filter in hex

A program of its own, because a process cannot leave a namespace, a seccomp filter or another uid
again. It uses the standard library alone and is started by root, with PARENT's own environment
cleared. PROGRAM can create files in DIRECTORY/socket only: its socket `agent`.

When PROGRAM accepts connections, its pid is printed and this ends with 0. PROGRAM is then a child
of PARENT (clone(2), CLONE_PARENT) and is killed when PARENT dies (PR_SET_PDEATHSIG). Anything else
ends with 1 and the reason on stderr, and PROGRAM is dead.
"""

import ctypes
import fcntl
import os
import platform
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

PATIENCE = 8.0  # seconds for everything; the caller waits for ten

SOCKET = Path("/socket")  # as PROGRAM sees it
VISIBLE = (
    "usr",
    "lib",
    "lib64",
    "lib32",
    "libx32",
)  # of the host's directories, until PROGRAM has started

# From linux/sched.h, linux/mount.h, linux/prctl.h and linux/seccomp.h.
NEW_NAMESPACES = (
    0x00020000 | 0x40000000 | 0x08000000 | 0x04000000 | 0x20000000
)  # mnt net ipc uts pid
CLONE_PARENT = 0x00008000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38
LINUX_CAPABILITY_VERSION_3 = 0x20080522
SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER = 1, 8
SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND = 0xC0502100, 0xC0182101
SECCOMP_USER_NOTIF_FLAG_CONTINUE = 1
NOTIFICATION = 80  # bytes of struct seccomp_notif

CALLS = {  # those without a function in libc
    "x86_64": {"clone": 56, "pivot_root": 155, "seccomp": 317},
    "aarch64": {"clone": 220, "pivot_root": 41, "seccomp": 277},
}

# PyDLL keeps the interpreter locked: there is no other thread, and clone() returns twice.
LIBC = ctypes.PyDLL(None, use_errno=True)


class _Filter(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("lines", ctypes.c_char_p))


def main(arguments: Sequence[str]) -> None:
    """Do what the module promises. Raises OSError that names the step that failed."""
    parent, uid, directory, *program = arguments
    lines = bytes.fromhex(sys.stdin.read())
    deadline = time.monotonic() + PATIENCE
    alive = os.pidfd_open(int(parent))
    if os.getppid() != int(parent):
        raise ProcessLookupError("the parent has ended already")
    checked(LIBC.unshare(NEW_NAMESPACES), "unshare")
    enter_empty_root(Path(directory))
    parent_end, child_end = socket.socketpair()
    reason, stderr = os.pipe()
    pid = call("clone", CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        become(program, int(uid), lines, alive=alive, supervisor=child_end, stderr=stderr)
    child_end.close()
    os.close(stderr)
    try:
        approve_exec(pid, parent_end, deadline)
        empty_root()
    except OSError as failed:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        output = os.read(reason, 400).decode(errors="replace").strip()
        raise OSError(f"{failed}; its stderr: {output!r}") from failed
    os.write(1, f"{pid}\n".encode())


def enter_empty_root(directory: Path) -> None:
    """Change to a new root that has the host's libraries and one directory for the socket."""
    mount(None, Path("/"), MS_REC | MS_PRIVATE)
    root = directory / "root"
    mount("tmpfs", root, MS_NOSUID | MS_NODEV, kind="tmpfs", options="size=64k,mode=0755")
    for name in VISIBLE:
        host = Path("/", name)
        if host.is_symlink():
            (root / name).symlink_to(host.readlink())
        elif host.is_dir():
            bind(host, root / name, MS_RDONLY | MS_NOSUID | MS_NODEV)
    bind(directory / "socket", root / SOCKET.relative_to("/"), MS_NOSUID | MS_NODEV | MS_NOEXEC)
    (root / "dev").mkdir()
    (root / "dev/null").touch()
    mount("/dev/null", root / "dev/null", MS_BIND)
    os.chdir(root)
    call("pivot_root", b".", b".")
    checked(LIBC.umount2(b".", MNT_DETACH), "umount of the host's root")
    os.chdir("/")


def empty_root() -> None:
    """Remove everything from the root; PROGRAM keeps what it has loaded."""
    for name in (*VISIBLE, "socket", "dev/null"):
        path = Path("/", name)
        if not path.is_symlink() and path.exists():
            checked(LIBC.umount2(os.fsencode(path), MNT_DETACH), f"umount of {path}")
    for path in (Path("/dev/null"), *Path("/").iterdir()):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    mount(None, Path("/"), MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)


def bind(source: Path, target: Path, flags: int) -> None:
    """Bind-mount one directory with these flags."""
    target.mkdir()
    mount(str(source), target, MS_BIND)
    mount(None, target, MS_BIND | MS_REMOUNT | flags)


def become(
    program: Sequence[str],
    uid: int,
    lines: bytes,
    *,
    alive: int,
    supervisor: socket.socket,
    stderr: int,
) -> NoReturn:
    """Execute the program, or write to stderr why not. Exec closes every other descriptor."""
    try:
        null = os.open("/dev/null", os.O_RDWR)
        for standard, source in enumerate((null, null, stderr)):
            os.dup2(source, standard)
        drop_powers(uid)
        die_with(alive)
        os.umask(0o077)
        listener = load(lines)
        socket.send_fds(supervisor, [b"x"], [listener])
        os.execve(program[0], list(program), {})  # noqa: S606 - without a shell on purpose
    except BaseException as failed:  # noqa: BLE001 - this is the child's outermost frame
        os.write(2, str(failed).encode())
    finally:
        os._exit(1)


def die_with(alive: int) -> None:
    """Have the kernel kill this process after the parent, a pidfd. A change of uid undoes it."""
    checked(LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    if select.select([alive], [], [], 0)[0]:
        raise ProcessLookupError("the parent has ended already")


def drop_powers(uid: int) -> None:
    """Become `uid` irrevocably: no capability, no privilege by exec, no core file."""
    # A limit of 0 stops no core_pattern that is a pipe; the kernel refuses 1 for both (core(5)).
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    capability = 0
    while LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    none = (ctypes.c_uint32 * 6)()
    header = (ctypes.c_uint32 * 2)(LINUX_CAPABILITY_VERSION_3, 0)
    checked(LIBC.capset(header, none), "capset")
    checked(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


def load(lines: bytes) -> int:
    """Load the filter, and return the descriptor on which it reports the one execve."""
    program = _Filter(length=len(lines) // 8, lines=lines)
    flags = SECCOMP_FILTER_FLAG_NEW_LISTENER
    return call("seccomp", SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(program))


def approve_exec(pid: int, child: socket.socket, deadline: float) -> None:
    """Approve the one execve, close its descriptor, and wait until the program accepts connections.

    `deadline` is in seconds of time.monotonic(). Raises OSError.
    """
    child.settimeout(max(0.1, deadline - time.monotonic()))
    _, listeners, _, _ = socket.recv_fds(child, 1, 1)
    if not listeners:
        raise OSError("the program could not be confined")
    (listener,) = listeners
    if not select.select([listener], [], [], max(0.1, deadline - time.monotonic()))[0]:
        raise OSError("the program was not executed in time")
    request = bytearray(NOTIFICATION)
    fcntl.ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, request)
    approval = struct.pack(
        "=QqiI", *struct.unpack_from("=Q", request), 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE
    )
    fcntl.ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, approval)
    os.close(listener)
    ended = os.pidfd_open(pid)
    while not accepts_connections():
        if select.select([ended], [], [], 0.002)[0]:
            raise OSError("the program ended at once")
        if time.monotonic() > deadline:
            raise OSError("the program did not listen on its socket in time")


def accepts_connections() -> bool:
    """Say whether a process accepts connections at the socket."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(SOCKET / "agent"))
        except OSError:
            return False
    return True


def mount(
    source: str | None, target: Path, flags: int, *, kind: str | None = None, options: str = ""
) -> None:
    """Mount `source` at `target`, or change the flags of a mount. Raises OSError."""
    what = (source and source.encode(), os.fsencode(target), kind and kind.encode())
    checked(LIBC.mount(*what, ctypes.c_ulong(flags), options.encode()), f"mount at {target}")


def call(name: str, *arguments: object) -> int:
    """Make a system call that libc has no function for. Raises OSError."""
    number = CALLS[platform.machine()][name]
    wide = (ctypes.c_long(a) if isinstance(a, int) else a for a in arguments)
    return checked(LIBC.syscall(ctypes.c_long(number), *wide), name)


def checked(result: int, what: str) -> int:
    """Return what a call returned. Raises OSError if it failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (OSError, KeyError, ValueError) as failure:
        os.write(2, f"{failure}\n".encode())
        os._exit(1)
