"""A job renames its container's first process, by which the host would kill it without Docker."""

import platform
from pathlib import Path

import pytest

from bootstrap.sandbox.leases import first_process
from tests.attacks.attacker import Attacker
from tests.lab.leftovers import RUNTIME

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="its registers are x86_64's"),
]

# The first process is of the job's own user: by ptrace(2) it is made to call prctl(PR_SET_NAME).
RENAME = r"""
python3 - <<'PY'
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long]*4; libc.ptrace.restype = ctypes.c_long
def pt(*a):
    r = libc.ptrace(*a)
    if r < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return r
names = ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax"
         " rip cs eflags rsp ss fs_base gs_base ds es fs gs").split()
class R(ctypes.Structure): _fields_ = [(n, ctypes.c_ulong) for n in names]
pt(16, 1, 0, 0)
os.waitpid(1, 0x40000000)
old = R(); pt(12, 1, 0, ctypes.addressof(old))
new = R.from_buffer_copy(bytes(old))
where = (old.rsp - 512) & ~7
pt(5, 1, where, int.from_bytes(b"\xff\xfe\xfd\0\0\0\0\0", "little"))
new.rax, new.rdi, new.rsi, new.orig_rax, new.rip = 157, 15, where, 2**64 - 1, old.rip - 2
pt(13, 1, 0, ctypes.addressof(new)); pt(9, 1, 0, 0); os.waitpid(1, 0x40000000)
done = R(); pt(12, 1, 0, ctypes.addressof(done))
pt(13, 1, 0, ctypes.addressof(old)); pt(17, 1, 0, 0)
print("prctl returned", done.rax, open("/proc/1/comm", "rb").read())
PY
"""


def test_process_whose_name_is_not_text_is_found_by_the_lease(sandbox: Attacker) -> None:
    (lease,) = [
        path.parent
        for path in RUNTIME.glob("jobs/*/process")
        if str(sandbox.pid) in path.read_text()
    ]
    done = sandbox.tries(RENAME)
    assert Path(f"/proc/{sandbox.pid}/comm").read_bytes() == b"\xff\xfe\xfd\n", done.stderr
    assert first_process.is_running(lease)
