"""Promise 3, by way of the kernel: a job can make only the system calls that builds need.

The job's own process makes each dangerous call, and a container without a profile makes it again:
there it has to reach the kernel, which may perform it or refuse it with an error of its own.
"""

import json
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.attacker import Attacker
from tests.lab import engine, world
from tests.lab.engine import eventually
from tests.lab.lab import Fleet, Lab, fleet

pytestmark = pytest.mark.lab

PROBE = (Path(__file__).parent / "kernel.py").read_text()
SOCKETCALL = "any family by socketcall"  # an entry for 32-bit programs, on one architecture only
NATIVE = (SOCKETCALL,) if platform.machine() == "x86_64" else ()
# Each takes of what the machine has once: test_denial_of_service_filters.py.
OF_CALLS = tuple(
    f"filter of system calls{way}" for way in ("", " with high bits", " by prctl",
                                               " by prctl with high bits")
)  # fmt: skip
OF_SOCKETS = (
    "filter of a socket", "filter of a socket with high bits", "filter of sockets at one port",
)  # fmt: skip
# The kernel's memory for these counts for no limit: test_denial_of_service_uncounted.py.
KEPT = {
    "key of a TCP socket": "ENOPROTOOPT",
    "key of a TCP socket with a prefix": "ENOPROTOOPT",
    "headers of an IPv6 socket": "ENOPROTOOPT",
    "group of an IPv6 socket": "ENODEV",
    "group of any socket": "ENODEV",
}
REFUSED = (
    *NATIVE, *OF_CALLS, *OF_SOCKETS, *KEPT,
    "AF_ALG", "AF_ALG with high bits", "AF_VSOCK", "AF_TIPC pair",
    "io_uring", "keyctl", "add_key", "request_key", "userfaultfd", "bpf", "perf_event_open",
    "unshare a user namespace", "setns", "clone3", "mount", "fsopen", "personality",
    "open_by_handle_at", "unshare a network", "clone into a user namespace", "pidfd_getfd",
    "open_tree", "kcmp", "io_uring_register", "keyctl for a new session",
)  # fmt: skip
# After this error the C library falls back, as on a kernel without the call.
ERRORS = {
    "clone3": "ENOSYS",
    SOCKETCALL: "ENOSYS",
    **dict.fromkeys(OF_CALLS, "EINVAL"),
    **dict.fromkeys(OF_SOCKETS, "ENOPROTOOPT"),
    **KEPT,
}
# The kernel's own errors where it does not perform a call without a profile.
KERNEL_ERRORS = {
    "AF_ALG": {"EAFNOSUPPORT"},  # the kernel has no such family
    "AF_ALG with high bits": {"EAFNOSUPPORT"},
    "AF_VSOCK": {"EAFNOSUPPORT"},
    "AF_TIPC pair": {"EAFNOSUPPORT"},
    "io_uring": {"EPERM", "ENOSYS"},  # kernel.io_uring_disabled
    "add_key": {"ENODEV", "EINVAL"},  # there is no such type of key: it was looked up
    "request_key": {"ENOKEY", "ENODEV", "EINVAL"},
    "userfaultfd": {"ENOSYS"},
    "bpf": {"EPERM", "EINVAL"},  # kernel.unprivileged_bpf_disabled, or the empty attributes
    "perf_event_open": {"EACCES", "ENOENT", "ENOTSUP"},  # kernel.perf_event_paranoid, no counter
    "unshare a user namespace": {"EPERM", "ENOSPC"},  # where the distribution forbids them
    "unshare a network": {"EPERM", "ENOSPC"},
    "clone into a user namespace": {"EPERM", "ENOSPC"},
    "kcmp": {"ENOSYS"},
    "io_uring_register": {"EBADF", "ENOTSUP", "EINVAL", "EPERM", "ENOSYS"},  # 0 is no ring
    "setns": {"EPERM"},  # CAP_SYS_ADMIN
    "clone3": {"EINVAL", "EFAULT"},  # the empty arguments
    "mount": {"EPERM", "ENOENT"},
    "fsopen": {"EPERM"},
    "open_by_handle_at": {"EPERM", "EFAULT", "EINVAL"},
}


@pytest.fixture(scope="module")
def asked(sandbox: Attacker) -> dict[str, str]:
    done = sandbox.tries(f"python3 - <<'PROBE'\n{PROBE}PROBE\n")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def unconfined(shared: Fleet) -> dict[str, str]:
    """The same, in a container that has all but the profile."""
    return dict(json.loads(bare(shared, "--security-opt", "seccomp=unconfined", script=PROBE)))


def bare(made: Fleet, *options: str, script: str) -> str:
    """Run Python in a container of the engine's, as the job's user and without capabilities."""
    command = [
        "docker", "-H", made.lab.docker, "run", "--rm", "-i", "--network", "none",
        "--user", "2000:2000", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
        *options, made.lab.image, "python3", "-",
    ]  # fmt: skip
    return subprocess.run(command, input=script, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", REFUSED)
def test_seccomp_profile_denies_dangerous_call(
    asked: dict[str, str], unconfined: dict[str, str], name: str
) -> None:
    assert unconfined[name] in {"done", *KERNEL_ERRORS.get(name, ())}
    assert asked[name] == ERRORS.get(name, "EPERM")


def test_state_of_processes_is_in_audit_record(sandbox: Attacker) -> None:
    """The kernel's own account of what the attacks in this file meet."""
    event = sandbox.fleet.event(sandbox.job.id, "sandbox")
    assert event["proof"]["processes"] == "NoNewPrivs 1, Seccomp 2, no capability"
    assert event["proof"]["AppArmor"] in {"docker-default", "not used by this host's engine"}
    script = "grep -E '^(NoNewPrivs|Seccomp|CapBnd):' /proc/self/status"
    assert sandbox.tries(script).stdout.split() == [
        "CapBnd:", "0" * 16, "NoNewPrivs:", "1", "Seccomp:", "2",
    ]  # fmt: skip


def test_dangerous_calls_without_profile_partly_succeed(unconfined: dict[str, str]) -> None:
    done = {name for name in REFUSED if unconfined[name] == "done"}
    assert {"personality", *NATIVE} <= done
    assert len(done) >= 5, done  # which others succeed depends on the kernel


def test_seccomp_profile_common_build_calls_succeed(sandbox: Attacker) -> None:
    """Debuggers and leak sanitizers trace, threads start, new C libraries find new calls."""
    script = """
    python3 - <<'PY'
    import ctypes, os, socket, struct, sys, threading, multiprocessing, resource, asyncio
    libc = ctypes.CDLL(None, use_errno=True)
    pid = os.fork()
    if pid == 0:
        assert libc.ptrace(0, 0, 0, 0) == 0
        os.kill(os.getpid(), 19)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSTOPPED(status), "traced"
    os.kill(pid, 9); os.waitpid(pid, 0)
    assert libc.prctl(15, b"named", 0, 0, 0) == 0, "PR_SET_NAME"
    assert libc.prctl(36, 1, 0, 0, 0) == 0, "PR_SET_CHILD_SUBREAPER"
    assert libc.prctl(38, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS"
    assert libc.prctl(0x59616D61, 0, 0, 0, 0) == 0 or ctypes.get_errno() == 22, "PR_SET_PTRACER"
    assert libc.prctl(21, 0, 0, 0, 0) == 2, "PR_GET_SECCOMP"
    with socket.socket() as options:
        for level, option in (
            (1, 2), (1, 7), (1, 8), (1, 9), (1, 15), (1, 20), (6, 1), (6, 4), (6, 12), (0, 2),
        ):
            options.setsockopt(level, option, struct.pack("@qq", 1, 0))
    with socket.socket(socket.AF_INET6) as options:
        for option in (26, 51, 66, 67): options.setsockopt(41, option, 1)
    for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK):
        socket.socket(family, socket.SOCK_DGRAM).close()
    socket.socketpair()[0].close()
    os.close(os.memfd_create("m")); os.close(os.pidfd_open(os.getpid()))
    thread = threading.Thread(target=print, args=("thread",)); thread.start(); thread.join()
    with multiprocessing.Pool(2) as pool: assert pool.map(abs, [-1]) == [1]
    assert resource.getrlimit(resource.RLIMIT_CORE) == (1, 1)
    print("done")
    PY
    """
    lines = "\n".join(line[4:] for line in script.splitlines())
    done = sandbox.tries(lines)
    assert done.stdout.splitlines() == ["thread", "done"], done.stderr


@pytest.mark.parametrize(
    ("runtime", "missing"),
    [
        ("without-seccomp", "Seccomp: expected 2, got 0"),
        ("without-no-new-privileges", "NoNewPrivs: expected 1, got 0"),
        ("without-empty-bounding-set", "CapBnd: expected 0000000000000000, got"),
    ],
)
def test_engine_that_omits_confinement_starts_no_job(
    lab: Lab, tmp_path: Path, runtime: str, missing: str
) -> None:
    """The runtime ignores one part of its configuration: the proof fails, and nothing runs."""
    if not lab.docker.endswith(str(engine.OURS)):
        pytest.skip("the machine's own engine lacks the lab's broken runtimes")
    with fleet(lab, tmp_path / "fleet", settings=f'runtime = "{runtime}"') as made, made.agent():
        job = made.control.enqueue(made.env("echo I ran"))
        assert made.control.finished(job) == ("-1", "", "process_run_error"), job.log.decode()
    assert b"the container is not confined" in job.log
    assert missing.encode() in job.log
    assert b"\nI ran" not in job.log


@pytest.fixture
def crashes(tmp_path: Path) -> Iterator[Path]:
    """Have the kernel pass every crash to a program of the host, as apport and systemd do."""
    handler, seen = tmp_path / "handler", tmp_path / "seen"
    handler.write_text(f'#!/bin/sh\ncat >/dev/null\necho "$1 as uid $(id -u)" >>{seen}\n')
    handler.chmod(0o755)
    pattern = Path("/proc/sys/kernel/core_pattern")
    before = pattern.read_text()
    try:
        pattern.write_text(f"|{handler} %h\n")
        yield seen
    finally:
        pattern.write_text(before)


CRASH = "{limit}; sh -c 'kill -SEGV $$'; echo crashed"


@pytest.mark.parametrize(
    "limit",
    ["true", "ulimit -c 0", "ulimit -S -c 0", "prlimit --core=0 --pid $$", "ulimit -c unlimited"],
)
def test_job_crash_starts_no_core_handler_on_host(
    sandbox: Attacker, crashes: Path, limit: str
) -> None:
    """A core_pattern that is a pipe ignores every core limit but 1; a job would set 0."""
    name, last = sandbox.tries("uname -n; " + CRASH.format(limit=limit)).stdout.splitlines()
    assert last == "crashed"
    # The host's own crash, which comes later, is seen: so would the job's have been.
    subprocess.run(
        ["prlimit", "--core=0", "sh", "-c", "kill -SEGV $$"], check=False, capture_output=True
    )
    eventually(crashes.exists, "the handler receives the host's own crash")
    assert name not in crashes.read_text()


def test_crash_with_core_limit_zero_starts_core_handler_on_host(
    shared: Fleet, crashes: Path
) -> None:
    """The attack without the protection: the handler runs as root, on the host, for the job."""
    world.assert_contained()
    crash = "import os; os.fork() or os.kill(os.getpid(), 11); os.wait()"
    bare(shared, "--ulimit", "core=0", "--hostname", "airlock", script=crash)
    eventually(crashes.exists, "the handler receives the crash")
    assert crashes.read_text() == "airlock as uid 0\n"
