"""Memory of the kernel that counts for no container: what it keeps for a job's sockets.

With a limit of 256 MiB a job could have it keep all that the machine has, 0.2 MiB for each socket.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.sandbox.supervision import eviction
from bootstrap.sandbox.supervision.eviction import UNREAD
from tests.attacks.attacker import Attacker, attacker, run
from tests.attacks.neighbours import STATUS_125
from tests.lab.lab import FIRST_USER, Fleet

pytestmark = pytest.mark.lab

LIMIT = 16  # MiB, of a container without the profile; Python takes more than half of that
# Sockets that are enough to exceed it, and bytes of what is kept of each kind, at least.
MANY = {"keys": (140, 136), "groups": (140, 56), "headers": (280, 24 * 2700)}
KEEP = """python3 - {what} {sockets} <<'PY' 2>&1
import socket, struct, sys
def keys(one):
    for n in range(5000):
        address = struct.pack("=HHI", socket.AF_INET, 0, n).ljust(128, b"\\0")
        one.setsockopt(6, 14, address + struct.pack("=BBHi", 0, 0, 80, 0) + bytes(80))
        yield
def groups(one):
    for n in range(1, 5000):
        group = socket.inet_pton(socket.AF_INET6, f"ff02::1:{{n:x}}")
        one.setsockopt(41, 20, group + struct.pack("=I", 1))
        yield
def headers(one):
    one.setsockopt(41, 6, struct.pack("=QiiI4x", 20, 41, 67, 0) * 2700)
    yield
FAMILIES = {{"keys": (socket.AF_INET, socket.SOCK_STREAM)}}
kept, things, why = [], 0, "done"
for _ in range(int(sys.argv[2])):
    one = socket.socket(*FAMILIES.get(sys.argv[1], (socket.AF_INET6, socket.SOCK_DGRAM)))
    kept.append(one)
    try:
        for _ in globals()[sys.argv[1]](one): things += 1
    except OSError as refused: why = refused.strerror
print(things, why)
PY"""
REFUSALS = {
    "keys": "Protocol not available", "groups": "No such device",
    "headers": "Protocol not available",
}  # fmt: skip
# Asks the kernel and reads no answer, with so many sockets.
ASK = """python3 -u - <<'PY' 2>&1
import socket, struct, time
kept = []
ask = struct.pack("=IHHIIBBHiII", 32, 18, 1, 1, 0, 0, 0, 0, 1, 0, 0)  # RTM_GETLINK of lo
for _ in range({sockets}):
    kept.append(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))
    kept[-1].bind((0, 0))
    for _ in range(400): kept[-1].send(ask)
print("asked")
{then}
PY"""


def unread(pid: int) -> int:
    return eviction.unread(Path(f"/proc/{pid}/net/netlink").read_text().splitlines()[1:])


@pytest.fixture
def limited(shared: Fleet) -> Iterator[Attacker]:
    shared.policy("  - {name: all, allow: {limits: {memory: 256MiB}}}\n")
    with attacker(shared) as made:
        yield made


@pytest.mark.parametrize("what", REFUSALS)
def test_the_kernel_keeps_nothing_for_sockets_of_a_job(sandbox: Attacker, what: str) -> None:
    done = sandbox.tries(KEEP.format(what=what, sockets=10), 60)
    assert done.stdout == f"0 {REFUSALS[what]}\n"


@pytest.mark.parametrize("what", REFUSALS)
def test_without_the_profile_it_keeps_more_than_the_limit_of_memory(
    shared: Fleet, what: str
) -> None:
    bare = (
        "docker", "-H", shared.lab.docker, "run", "--rm", "--network", "none", "--user",
        FIRST_USER, "--cap-drop", "ALL", "--security-opt", "seccomp=unconfined",
        f"--memory={LIMIT}m", f"--memory-swap={LIMIT}m", shared.lab.image, "sh", "-c",
    )  # fmt: skip
    sockets, size = MANY[what]
    kept, _ = run(*bare, KEEP.format(what=what, sockets=sockets)).split(maxsplit=1)
    assert int(kept) * size > LIMIT << 20, "and nothing was killed for it"


def test_a_job_that_reads_no_answers_of_the_kernel_is_stopped(limited: Attacker) -> None:
    fleet, job = limited.fleet, limited.job
    pid = limited.pid
    assert unread(pid) < 1 << 20
    assert limited.tries(ASK.format(sockets=20, then="")).stdout == "asked\n"
    assert unread(pid) < 1 << 20, "they are gone with their sockets, and the job goes on"
    with pytest.raises((TimeoutError, FileNotFoundError)):
        limited.tries(ASK.format(sockets=2 * UNREAD // (96 << 10), then="time.sleep(60)"), 8)
    assert fleet.control.finished(job, 60) == STATUS_125, job.log.decode()
    assert b"messages that it does not read" in job.log
