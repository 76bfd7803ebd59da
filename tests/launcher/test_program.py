"""The program itself: what is in it, which system calls it makes, and how it uses memory."""

import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.lab import launcher
from tests.launcher.peer import SECONDS, Peer

SOURCES = sorted((launcher.ROOT / "launcher").glob("*.[ch]"))
# Every call of a job's whole way, but for those of its last microsecond when it dies by a signal.
CALLS = {
    "execve", "rt_sigprocmask", "fcntl", "signalfd4", "socket", "setsockopt", "connect",
    "getsockopt", "getuid", "openat", "sendmsg", "close", "sendto", "ppoll", "recvfrom", "read",
    "ioctl", "exit_group",
}  # fmt: skip
DEATH = {"prctl", "rt_sigaction", "getpid", "kill"}
EXPLANATION = {"write"}
ATTACKS = {
    "LD_PRELOAD": "/tmp/x.so", "LD_AUDIT": "/tmp/x.so", "LD_LIBRARY_PATH": "/tmp",
    "GLIBC_TUNABLES": "glibc.malloc.check=3", "GCONV_PATH": "/tmp", "LOCPATH": "/tmp",
    "LC_ALL": "de_DE.UTF-8", "TZ": ":/tmp/zone", "TMPDIR": "/tmp/absent", "MALLOC_CHECK_": "3",
    "RES_OPTIONS": "debug", "HOME": "/tmp", "PATH": "/tmp",
}  # fmt: skip
READ = re.compile(r"^\d+ +(\w+)\((.*)$", re.MULTILINE)


def strace() -> str:
    path = shutil.which("strace")
    assert path, "tests/lab/setup installs it"
    return path


def traced(peer: Peer, trace: Path, answer: bytes, env: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return every system call with its arguments, as strace shows them."""
    command = [strace(), "-f", "-o", str(trace), *peer.command()]
    with subprocess.Popen(command, env=env, stdin=-1, stdout=-1, stderr=-1) as process:
        with peer.accept() as connection:
            connection.request().close()
            connection.send(answer)
        process.communicate(timeout=SECONDS)
    return READ.findall(trace.read_text())


@pytest.mark.parametrize(
    ("answer", "further"),
    [(b"BE\x00", set()), (b"BS\x0f", DEATH), (b"", EXPLANATION), (b"R\x4d\x00\x00", set())],
)
def test_it_makes_only_these_calls(
    peer: Peer, tmp_path: Path, answer: bytes, further: set[str]
) -> None:
    calls = traced(peer, tmp_path / "trace", answer, {})
    assert {name for name, _ in calls} <= CALLS | further
    assert {name for name, _ in calls} >= {"connect", "sendmsg", "recvfrom", *further}
    opened = [arguments for name, arguments in calls if name == "openat"]
    assert len(opened) == 1
    assert opened[0].startswith('AT_FDCWD, ".", O_RDONLY|O_CLOEXEC|O_PATH|O_DIRECTORY)')


def without_addresses(calls: list[tuple[str, str]]) -> list[str]:
    """The calls whose number does not depend on how fast the service is, without their results."""
    return [
        re.sub(r"0x[0-9a-f]+|\d+ vars|= .*", "", f"{name} {arguments}")
        for name, arguments in calls
        if name not in {"ppoll", "recvfrom", "read", "sendto", "sendmsg", "ioctl"}
    ]


def test_no_variable_changes_a_call(peer: Peer, tmp_path: Path) -> None:
    plain = traced(peer, tmp_path / "plain", b"BE\x00", {})
    attacked = traced(peer, tmp_path / "attacked", b"BE\x00", ATTACKS)
    assert without_addresses(plain) == without_addresses(attacked)


def test_an_ordinary_program_is_changed_by_them(tmp_path: Path) -> None:
    """The comparison above would show it: the dynamic loader opens what LD_PRELOAD names."""
    trace = tmp_path / "trace"
    command = [strace(), "-f", "-o", str(trace), "/bin/true"]
    subprocess.run(command, env=ATTACKS, check=True, capture_output=True)
    assert '"/tmp/x.so"' in trace.read_text()


def readelf(*options: str) -> str:
    command = ["readelf", "--wide", *options, str(launcher.binary())]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_it_is_static_and_has_no_c_library() -> None:
    data = launcher.binary().read_bytes()
    assert len(data) < 32 << 10
    assert "no relocations" in readelf("--relocs")
    assert "INTERP" not in readelf("--program-headers")
    assert "NEEDED" not in readelf("--dynamic")
    for word in (b"GLIBC", b"LD_", b"getenv", b"TUNABLES", b"/lib", b"/etc"):
        assert word not in data


def test_it_is_hardened() -> None:
    headers = readelf("--program-headers")
    assert "DYN (Position-Independent Executable file)" in headers
    assert re.search(r"GNU_STACK .* RW +0x10", headers)
    assert "GNU_RELRO" in headers
    assert not re.search(r"LOAD .* (RWE|WE) ", headers)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_source_is_short(source: Path) -> None:
    text = source.read_text()
    assert text.count("\n") < 300
    assert max(map(len, text.splitlines())) <= 100


def valgrind(peer: Peer, log: Path) -> list[str]:
    return [
        "valgrind", "--tool=memcheck", "--error-exitcode=99", "--track-origins=yes",
        "--track-fds=no", f"--log-file={log}", *peer.command(),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "status"),
    [(b"BE\x05", 5), (b"BS\x0f", -15), (b"R\x4d\x04\x00text", 77), (b"", 125), (b"B", 79)],
)
def test_memcheck_finds_nothing(peer: Peer, tmp_path: Path, answer: bytes, status: int) -> None:
    if not shutil.which("valgrind"):
        pytest.skip("no valgrind: install it with tests/lab/setup")
    log = tmp_path / "valgrind"
    env = {"EMPTY": "", **{f"NAME_{number}": "x" * number for number in range(500)}}
    with subprocess.Popen(valgrind(peer, log), env=env, stdin=-1, stdout=-1, stderr=-1) as process:
        with peer.accept() as connection:
            connection.request().close()
            process.send_signal(signal.SIGTERM)
            assert connection.read(1) == b"\x0f"
            connection.send(answer)
        process.communicate(timeout=60)
    assert (process.returncode, "ERROR SUMMARY: 0 errors" in log.read_text()) == (status, True)
