"""Filters of system calls and of sockets: the machine has the memory that they compile to once.

When one job has used it up (net.core.bpf_jit_limit), no other container of the host starts, and no
program of the host that filters its own system calls, such as sshd for each login.
"""

import pytest

from bootstrap.host.config import Sandbox
from tests.attacks.attacker import Attacker, run
from tests.attacks.neighbours import STATUS_125
from tests.lab.engine import eventually
from tests.lab.lab import FIRST_USER, Fleet

pytestmark = pytest.mark.lab

LIMIT = 528_482_304  # bytes: net.core.bpf_jit_limit, as Linux 6.18 sets it on x86-64
LEAST = 5  # bytes that the kernel compiles one instruction to: a comparison with a number
PER_PROCESS = 7  # filters of the largest size (seccomp(2): 32768 instructions, and 4 for each)
# Loads filters of 4096 instructions in so many processes, each as many as it can, and keeps them;
# smaller ones where the machine has nothing left for those. Prints how many large ones there were,
# and why there are no more.
LOAD = """python3 -u -c '
import ctypes, os, signal, struct, time
libc = ctypes.CDLL(None, use_errno=True)
def program(size):
    never = ((0x15, 0, 0, 1 << 30 | number) for number in range(size - 2))
    lines = [(6, 0, 0, 0x7FFF0000), *never, (6, 0, 0, 0x7FFF0000)]
    text = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in lines))
    return text, struct.pack("@HP", size, ctypes.addressof(text))
programs = [program(size) for size in (4096, 256, 16, 2)]
reading, writing = os.pipe()
def load():
    large = loaded = 0
    for text, whole in programs:
        while libc.prctl(22, 2, whole, 0, 0) == 0:
            loaded += 1
            large += text is programs[0][0]
        if ctypes.get_errno() != 524: break
    os.write(writing, struct.pack("=II", large, ctypes.get_errno()))
    if loaded: signal.pause()
    os._exit(0)
libc.prctl(38, 1, 0, 0, 0)
answers = []
for _ in range({processes}):
    if not os.fork(): load()
    answers.append(struct.unpack("=II", os.read(reading, 8)))
    if answers[-1][0] == 0: break
print("filters:", sum(n for n, _ in answers), "then", os.strerror(answers[-1][1]))
end = time.monotonic() + {seconds}
while time.monotonic() < end:  # what other containers give back
    if not (child := os.fork()): load()
    os.read(reading, 8)
    try: os.waitpid(-1, os.WNOHANG)
    except ChildProcessError: pass
    time.sleep(0.02)
os.killpg(0, 9)'"""


def test_one_job_loads_no_filter(sandbox: Attacker) -> None:
    done = sandbox.tries(f"setsid {LOAD.format(processes=4, seconds=0)}")
    assert done.stdout == "filters: 0 then Invalid argument\n", done.stderr


def unprofiled(made: Fleet, *options: str) -> list[str]:
    """Return a command with which a container has all of a job's limits, but not its profile."""
    return [
        "docker", "-H", made.lab.docker, "run", "--rm", "--network", "none", "--user", FIRST_USER,
        "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--security-opt",
        "seccomp=unconfined", "--pids-limit", str(Sandbox(image="any").pids), *options,
        made.lab.image, "sh", "-c",
    ]  # fmt: skip


def test_the_processes_of_one_container_without_profile_are_enough_for_all(shared: Fleet) -> None:
    """Nothing is used up here: other tests start containers meanwhile."""
    found = run(*unprofiled(shared), LOAD.format(processes=4, seconds=0) + " || true")
    assert found.startswith(f"filters: {4 * PER_PROCESS} then"), found
    assert Sandbox(image="any").pids * PER_PROCESS * 4096 * LEAST > LIMIT


@pytest.mark.host_namespaces  # it uses up what the whole machine has once
def test_one_container_without_profile_keeps_others_from_starting(shared: Fleet) -> None:
    docker = ("docker", "-H", shared.lab.docker)
    command = unprofiled(shared, "--detach", "--name", "exhausts")
    run(*command, LOAD.format(processes=4000, seconds=60))
    try:
        eventually(lambda: "filters:" in run(*docker, "logs", "exhausts"), "all is used up", 60)
        assert "then Unknown error 524" in run(*docker, "logs", "exhausts")
        with shared.agent(name="neighbour"):
            job = shared.control.enqueue(shared.env("echo I ran", BUILDKITE_AGENT_NAME="neighbour"))
            assert shared.control.finished(job) == STATUS_125, job.log.decode()
        assert b"errno 524" in job.log, job.log.decode()
    finally:
        run(*docker, "rm", "-f", "exhausts")
