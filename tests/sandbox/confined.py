"""A process that is confined as a container's first one is, but for what its arguments name."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Without `filter` it has no seccomp filter, with `user` it then enters a user namespace of its own,
# and with `forks` it has one child that stays and others that end at once.
PROCESS = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)

def call(function, *values):
    if function(*map(ctypes.c_ulong, values)):
        raise OSError(ctypes.get_errno(), function.__name__)

for capability in range(int(open("/proc/sys/kernel/cap_last_cap").read()) + 1):
    call(libc.prctl, 24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
if "user" in sys.argv:
    call(libc.unshare, 0x10000000)  # CLONE_NEWUSER
call(libc.prctl, 38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
if "filter" in sys.argv:
    allow = ctypes.create_string_buffer(bytes([6, 0, 0, 0, 0, 0, 0xFF, 0x7F]), 8)
    program = (ctypes.c_ulong * 2)(1, ctypes.addressof(allow))
    call(libc.prctl, 22, 2, ctypes.addressof(program), 0, 0)  # PR_SET_SECCOMP
print("ready", flush=True)
if "forks" in sys.argv and os.fork():
    while child := os.fork():
        os.waitpid(child, 0)
    os._exit(0)
time.sleep(60)
"""


@contextmanager
def process(*arguments: str, prefix: tuple[str, ...] = ()) -> Iterator[int]:
    """Start one. `prefix` is a command that has it as its only child."""
    command = [*prefix, sys.executable, "-c", PROCESS, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as started:
        assert started.stdout
        assert started.stdout.readline() == b"ready\n"
        below = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
        pid = int(below[0]) if prefix else started.pid
        try:
            yield pid
        finally:
            os.kill(pid, signal.SIGKILL)
            started.kill()
