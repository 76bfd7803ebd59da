"""Exhaustion of processes, memory, processor time and the log: one job's limits are its own.

Every attack runs as a job's own processes, beside an honest job, and also without the protection.
"""

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.attacks.attacker import container_of, run
from tests.attacks.neighbours import DONE, agents, start_job
from tests.fakes.control_plane import Job
from tests.lab.lab import FIRST_USER, GATE, Fleet, Lab, fleet, open_gate

pytestmark = pytest.mark.lab

RULES = """  - name: all
    allow: {limits: {memory: 256MiB, cpus: 0.5, pids: 128}}
"""
# Forks until it cannot, prints how often it could, and keeps its children.
BOMB = """python3 -u -c '
import os, signal, time
made = []
try:
    while len(made) < 1000:
        child = os.fork()
        if child == 0: signal.pause()
        made.append(child)
except OSError as end: print("forking ended:", end.strerror)
print("forked:", len(made))
for child in made: os.kill(child, 9)'"""
# The classic, which never stops by itself, and whose processes replace each other.
CLASSIC = "bomb() { bomb | bomb & }; bomb 2>/dev/null; sleep 3; echo survived its bomb"
EAT = """python3 -u -c '
eaten = []
for n in range({blocks}):
    eaten.append(bytearray(b"x" * (32 << 20)))
    print("eaten:", 32 * (n + 1))'"""
HONEST = """python3 -c '
import os
for _ in range(20): os.fork() or os._exit(0)
print("honest:", sum(os.wait()[1] for _ in range(20)))'"""


@pytest.fixture
def limited(lab: Lab, tmp_path: Path) -> Iterator[Fleet]:
    with fleet(lab, tmp_path / "fleet") as made:
        made.policy(RULES)
        yield made


@contextmanager
def neighbour(made: Fleet) -> Iterator[Job]:
    """An honest job that starts before the attack and works after it."""
    job = start_job(made, "neighbour", f"echo ready\n{GATE}\n{HONEST}", until="ready")
    yield job
    open_gate(job)
    assert made.control.finished(job, 60) == DONE, job.log.decode()
    assert b"\nhonest: 0" in job.log


@pytest.mark.parametrize("bomb", [BOMB, CLASSIC], ids=["counted", "classic"])
def test_fork_bomb_stops_at_limit_and_log_names_it(limited: Fleet, bomb: str) -> None:
    with agents(limited, "attacker", "neighbour") as running, neighbour(limited):
        attack = start_job(limited, "attacker", f"{bomb}\nexit 3")
        assert limited.control.finished(attack, 90)[0] in {"3", "1", "254"}, attack.log.decode()
        assert all(agent.process.poll() is None for agent in running.values())
        following = start_job(limited, "attacker", HONEST)
        assert limited.control.finished(following, 60) == DONE, following.log.decode()
    assert b"The job reached its limit of processes" in attack.log
    assert b"allow.limits.pids" in attack.log
    assert b"reached its limit of processes" not in following.log
    if b"forked: " in attack.log:
        assert b"Resource temporarily unavailable" in attack.log
        assert int(attack.log.partition(b"forked: ")[2].split()[0]) < 128


def docker(lab: Lab, *options: str) -> list[str]:
    return ["docker", "-H", lab.docker, "run", "--rm", "--network", "none", *options, lab.image]


def test_fork_bomb_without_limit_is_bounded_by_itself_only(lab: Lab) -> None:
    script = BOMB
    printed = run(*docker(lab, "--user", FIRST_USER), "bash", "-c", script)
    assert printed == "forked: 1000\n"


def test_memory_hog_is_killed_alone_and_log_names_the_limit(limited: Fleet) -> None:
    with agents(limited, "attacker", "neighbour") as running, neighbour(limited):
        attack = start_job(limited, "attacker", f"{EAT.format(blocks=64)}; echo status $?; exit 3")
        assert limited.control.finished(attack, 60)[0] in {"3", "137"}, attack.log.decode()
        assert all(agent.process.poll() is None for agent in running.values())
    assert b"eaten: 64\r" in attack.log or b"eaten: 64\n" in attack.log
    assert b"eaten: 512" not in attack.log
    assert b"the job ran out of memory" in attack.log
    assert b"allow.limits.memory" in attack.log


def test_memory_hog_in_tmpfs_is_killed_too(limited: Fleet) -> None:
    """Files in memory count as the job's, whichever process has written them."""
    with agents(limited, "attacker", "neighbour"), neighbour(limited):
        fill = (
            "for n in $(seq 64); do head -c 32M /dev/zero >/tmp/$n || break; echo filled $n; done"
        )
        attack = start_job(limited, "attacker", f"{fill}; echo the end")
        limited.control.finished(attack, 60)
    assert b"filled 2" in attack.log
    assert b"filled 16" not in attack.log


def test_memory_hog_without_limit_takes_what_it_wants(lab: Lab) -> None:
    script = EAT.format(blocks=20)
    printed = run(*docker(lab, "--user", FIRST_USER), "bash", "-c", script)
    assert printed.splitlines()[-1] == "eaten: 640"


def test_processor_weight_follows_the_rules_cpus(limited: Fleet) -> None:
    """The kernel divides scarce time by weight: a job of half a processor weighs half of one."""
    with agents(limited, "attacker", "neighbour"):
        small = start_job(limited, "attacker", "echo ready; sleep 60", until="ready")
        limited.policy("  - {name: all, allow: {}}\n")
        large = start_job(limited, "neighbour", "echo ready; sleep 60", until="ready")
        weights = [weight_of(limited, job) for job in (small, large)]
        for job in (small, large):
            limited.control.cancel(job)
            limited.control.finished(job)
    assert weights in ([512, 4096], [20, 157])  # cpu.shares, or cpu.weight of version 2


def weight_of(made: Fleet, job: Job) -> int:
    command = ["docker", "-H", made.lab.docker, "inspect", "-f", "{{.State.Pid}}"]
    pid = run(*command, container_of(made, job)).strip()
    membership = Path(f"/proc/{pid}/cgroup").read_text().replace("cpu,cpuacct", "cpu")
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "cpu":
            return int(Path("/sys/fs/cgroup/cpu", path.lstrip("/"), "cpu.shares").read_text())
    unified = membership.partition("0::/")[2].split("\n")[0]
    return int(Path("/sys/fs/cgroup", unified, "cpu.weight").read_text())


def test_container_without_weight_weighs_as_much_as_any_other(lab: Lab) -> None:
    """Docker's default, whatever its quota is."""
    script = "cat /sys/fs/cgroup/cpu/cpu.shares /sys/fs/cgroup/cpu.weight 2>/dev/null; true"
    assert run(*docker(lab, "--cpus", "0.5"), "sh", "-c", script) in {"1024\n", "100\n"}


LINES = 500_000  # of 64 bytes: 32 MB
FLOOD = f"head -c {LINES * 64} /dev/zero | tr '\\0' 'x' | fold -w 63; echo; echo flooded"
BYTES = "echo begin; head -c 300000 /dev/urandom | base64 >own; sha256sum <own; cat own; echo -end-"


def test_log_flood_leaves_neighbours_log_intact_and_wrapper_small(fleet: Fleet) -> None:
    with agents(fleet, "attacker", "neighbour", "quiet") as running:
        quiet = start_job(fleet, "quiet", "echo ready; sleep 300", until="ready")
        attack = start_job(fleet, "attacker", f"echo ready; {FLOOD}; sleep 300", until="ready")
        honest = start_job(fleet, "neighbour", BYTES)
        assert fleet.control.finished(honest, 120) == DONE, honest.log[-500:]
        fleet.control.wait(attack, lambda j: b"\nflooded" in j.log[-4096:] or j.finish, 240)
        peaks = {name: peak(running[name].bootstrap_pid()) for name in ("quiet", "attacker")}
        for job in (quiet, attack):
            fleet.control.cancel(job)
            fleet.control.finished(job, 60)
    own = honest.log.replace(b"\r", b"").partition(b"\nbegin\n")[2].partition(b"-end-\n")[0]
    digest, _, content = own.partition(b"  -\n")
    assert hashlib.sha256(content).hexdigest() == digest.decode()
    assert len(attack.log) > LINES * 64
    assert peaks["attacker"] < peaks["quiet"] * 1.25, peaks


def peak(pid: int) -> int:
    """Return the largest resident size that the process has had, in KiB."""
    (line,) = (one for one in Path(f"/proc/{pid}/status").read_text().splitlines()
               if one.startswith("VmHWM"))  # fmt: skip
    return int(line.split()[1])


def test_program_that_keeps_the_log_grows_with_it() -> None:
    """The attack without the protection, on the smallest program that collects output first."""
    collect = (
        "import subprocess, sys; subprocess.run(['head', '-c', sys.argv[1], '/dev/zero'],"
        " capture_output=True); print(open('/proc/self/status').read())"
    )

    def of(size: int) -> int:
        shown = run(sys.executable, "-c", collect, str(size))
        return int(shown.partition("VmHWM:")[2].split()[0])

    assert of(LINES * 64) > of(64) * 2
