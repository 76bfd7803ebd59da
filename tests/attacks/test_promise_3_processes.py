"""Promises 3 and 4: through processes a job reaches what is its own, and nothing of the host.

A job may trace every process of its container, the bootstrap included: all belong to it. What must
not follow: the agent's registration token, another job, the host.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.attacks.attacker import Attacker, attacker, run
from tests.attacks.test_promise_3_neighbours import Tries, container, on_host
from tests.fakes.control_plane import REGISTRATION
from tests.lab.agent import binary
from tests.lab.lab import Fleet

pytestmark = pytest.mark.lab

# Searches the memory of every process that this one may read, and prints which patterns it found.
# The patterns arrive in halves, so that the search does not find its own.
MEMORY = """python3 - {halves} <<'PY'
import os, re, sys
pairs = [(a.encode(), b.encode()) for a, b in zip(sys.argv[1::2], sys.argv[2::2])]
found, read = set(), 0
for pid in {pids}:
    if int(pid) == os.getpid(): continue
    try: maps, memory = open(f"/proc/{{pid}}/maps").readlines(), open(f"/proc/{{pid}}/mem", "rb", 0)
    except OSError: continue
    read += 1
    for line in maps:
        first, last = (int(n, 16) for n in line.split()[0].split("-"))
        if " r" not in line or last - first > 256 << 20 or "[v" in line: continue
        try:
            memory.seek(first)
            content = memory.read(last - first)
        except (OSError, ValueError, OverflowError): continue
        found |= {{a for a, b in pairs if a + b in content}}
print(read > 0, *sorted(one.decode() for one in found))
PY
"""
EVERY = 'filter(str.isdigit, os.listdir("/proc"))'


def searched(tries: Tries, *patterns: str, pids: str = EVERY) -> list[str]:
    """Return the patterns that are in the memory of one of the processes."""
    halves = " ".join(f"{one[:-8]} {one[-8:]}" for one in patterns)
    read, *found = tries(MEMORY.format(halves=halves, pids=pids)).stdout.split()
    assert read == "True"
    return [one for one in patterns if one[:-8] in found]


@pytest.fixture(scope="module")
def neighbour(shared: Fleet, sandbox: Attacker) -> Iterator[Attacker]:
    with attacker(shared) as made:
        yield made


def test_memory_of_bootstrap_has_no_token_but_the_jobs_own(
    sandbox: Attacker, neighbour: Attacker
) -> None:
    own, theirs = sandbox.job.token, neighbour.job.token
    assert searched(sandbox.tries, own, theirs, REGISTRATION) == [own]


def test_memory_of_agent_on_host_has_registration_token(sandbox: Attacker) -> None:
    """The same search where nothing keeps it from the agent's processes."""
    pids = str(agents_of(sandbox.fleet))
    assert searched(on_host, REGISTRATION, pids=pids) == [REGISTRATION]


def agents_of(made: Fleet) -> list[int]:
    """Return the agents that this test run has started."""
    assert made.control.jobs
    children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    started = [int(pid) for listed in children for pid in listed.read_text().split()]
    return [pid for pid in started if Path(f"/proc/{pid}/exe").readlink() == binary()]


TRACE = """python3 - <<'PY'
import ctypes, errno, os, subprocess
libc = ctypes.CDLL(None, use_errno=True)
pid = int(subprocess.run(["pgrep", "-f", "buildkite-agent bootstrap"], capture_output=True,
                         text=True).stdout.split()[0])
call = lambda *a: libc.ptrace(*(ctypes.c_long(x) for x in a))
assert call(16, pid, 0, 0) == 0, errno.errorcode[ctypes.get_errno()]
os.waitpid(pid, 0x40000000)
call(17, pid, 0, 0)
print(open(f"/proc/{pid}/status").read())
PY
"""


def test_traced_bootstrap_stays_confined_and_the_job_ends_unchanged(fleet: Fleet) -> None:
    """It is attached to and let go: allowed, for debuggers, and without gain."""
    with attacker(fleet) as tracing:
        traced = tracing.tries(TRACE)
        assert "NoNewPrivs:\t1" in traced.stdout, traced.stderr
        assert "Seccomp:\t2" in traced.stdout
        assert "CapEff:\t0000000000000000" in traced.stdout
        assert tracing.tries("echo still running").stdout == "still running\n"


FIRST = {
    "root": "cat /proc/1/root/{canary}",
    "cwd": "cat /proc/1/cwd/{up}{canary}",
    "descriptors": "timeout 1 cat /proc/1/fd/*/{up}{canary} /proc/1/fd/*",
    "mount namespace": "nsenter --target 1 --mount cat {canary}",
    "all namespaces": "nsenter --target 1 --all cat {canary}",
    "sysrq": "echo b >/proc/sysrq-trigger && cat {canary}",
    "core pattern": "echo '|/bin/cat' >/proc/sys/kernel/core_pattern && cat {canary}",
    "memory of kernel": "head -c 1 /proc/kcore >/dev/null && cat {canary}",
    "keys": "grep . /proc/keys && cat {canary}",
    "device": "mknod /tmp/disk b 8 0 && cat {canary}",
    "chroot": "python3 -c 'import os; os.chroot(\"/proc/1/root\")' && cat {canary}",
}


@pytest.fixture(scope="module")
def canary() -> Iterator[Path]:
    """A file of the host that every user of the host can read."""
    with TemporaryDirectory() as directory:
        path = Path(directory, "canary")
        path.write_text("of the host\n")
        path.parent.chmod(0o755)
        yield path


@pytest.mark.parametrize("trick", FIRST.values(), ids=FIRST)
def test_first_process_leads_to_no_file_of_host(
    sandbox: Attacker, canary: Path, trick: str
) -> None:
    script = trick.format(canary=canary, up="../" * 20)
    tried = sandbox.tries(script)
    assert tried.returncode != 0
    assert "of the host" not in tried.stdout


def test_process_of_host_in_view_leads_to_files_of_host(shared: Fleet, canary: Path) -> None:
    """Without a PID namespace, and with the capability that root has."""
    with (
        subprocess.Popen(["sleep", "60"]) as process,
        container(shared, "--pid", "host", "--cap-add", "SYS_PTRACE") as bare,
    ):
        way = FIRST["root"].format(canary=canary).replace("/proc/1/", f"/proc/{process.pid}/")
        assert bare.tries(way).stdout == "of the host\n"
        process.kill()


LISTED = """
for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; tr '\\0' ' ' <$p/environ; done 2>/dev/null"""


def test_processes_of_host_and_neighbour_are_not_listed(
    shared: Fleet, sandbox: Attacker, neighbour: Attacker
) -> None:
    theirs = f"container:{neighbour.container}"
    with container(shared, "--pid", theirs, "--user", f"{neighbour.uid}:{neighbour.uid}") as inside:
        assert neighbour.job.id in inside.tries(LISTED).stdout, "without a namespace of one's own"
    found = sandbox.tries(LISTED).stdout
    assert sandbox.job.id in found
    assert neighbour.job.id not in found
    assert "start --token" not in found


@pytest.mark.parametrize("victim", ["-1", "1", "every-number"])
def test_signals_to_everybody_reach_own_container_only(
    fleet: Fleet, neighbour: Attacker, victim: str
) -> None:
    numbers = f"{{2..{os.getpid() + 50}}}" if victim == "every-number" else victim
    with subprocess.Popen(["setpriv", "--reuid", neighbour.uid, "sleep", "40"]) as bystander:
        with attacker(fleet) as attacking:
            agents = agents_of(fleet)
            kill = f"setsid bash -c 'sleep 0.5; kill -9 -- {numbers}' 2>/dev/null & disown"
            attacking.tries(kill)
            result = fleet.control.finished(attacking.job, 60) if victim != "1" else None
            assert result is None or result[0] == "137", attacking.job.log.decode()
            assert agents
            assert agents_of(fleet) == agents
        assert bystander.poll() is None
        assert neighbour.tries("echo alive").stdout == "alive\n"
        run("kill", "-9", str(bystander.pid))


def test_signal_from_process_of_same_uid_on_host_arrives(neighbour: Attacker) -> None:
    """The attack without namespaces: the same uid suffices to kill on the host."""
    with subprocess.Popen(["setpriv", "--reuid", neighbour.uid, "sleep", "40"]) as bystander:
        run("setpriv", "--reuid", neighbour.uid, "kill", "-9", str(bystander.pid))
        assert bystander.wait(10) == -9


SETUID = """
cp $(command -v id) /tmp/id-copy && chmod 4755 /tmp/id-copy && /tmp/id-copy -u
for program in $(find / -xdev -perm /6000 -type f 2>/dev/null); do echo found $program; done
su -c id root </dev/null 2>&1; mount -o remount,rw / 2>&1 | head -1
unshare --user --map-root-user id -u 2>&1"""


def test_setuid_programs_give_no_privilege(sandbox: Attacker, shared: Fleet) -> None:
    lines = sandbox.tries(SETUID).stdout.splitlines()
    assert lines[0] == sandbox.uid
    assert "0" not in lines
    assert not any("uid=0" in line for line in lines)
    with container(shared, "--user", "2000") as bare:
        program = "cat /proc/self/status | grep NoNewPrivs"
        assert bare.tries(program).stdout == "NoNewPrivs:\t0\n", "where one would"
