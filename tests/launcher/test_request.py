"""What the launcher passes on: environment, arguments, directory and streams, byte for byte."""

import ctypes
import os
import resource
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.launcher.peer import SECONDS, Peer, Request, listening

BYTES = st.binary(max_size=40).map(lambda value: value.replace(b"\0", b""))
KERNEL_LIMIT = 6 << 20  # of arguments and environment, whatever the stack (fs/exec.c)
ONE_STRING = (128 << 10) - 1


def executed(peer: Peer, args: Sequence[bytes], env: Sequence[bytes]) -> Request:
    """Run the launcher with exactly these strings, which no Python mapping could hold."""
    argv = [os.fsencode(part) for part in peer.command()] + list(args)
    libc = ctypes.CDLL(None, use_errno=True)
    pid = ctypes.c_int()
    vectors = [(ctypes.c_char_p * (len(part) + 1))(*part, None) for part in (argv, env)]
    error = libc.posix_spawn(ctypes.byref(pid), argv[0], None, None, *vectors)
    assert error == 0, os.strerror(error)
    try:
        with peer.accept() as connection:
            request = connection.request()
            request.close()
            connection.send(b"E\x00")
    finally:
        _, status = os.waitpid(pid.value, 0)
    assert status == 0
    return request


@contextmanager
def large_environments() -> Iterator[None]:
    """The kernel allows environments of a quarter of the stack's limit."""
    before = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(resource.RLIMIT_STACK, (before[1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_STACK, before)


@pytest.mark.parametrize(
    "env",
    [
        (),
        (b"PATH=/bin", b"EMPTY="),
        (b"=value", b"=", b""),
        (b"no-equals-sign", b"A=B=C", b"A B=c\nd\te"),
        (b"TWICE=1", b"TWICE=2", b"TWICE=1"),
        (b"\xff\xfe=\x80\x81", "Größe=größer".encode(), b"\x1b[31m=\x07"),
        (b"LD_PRELOAD=/x", b"GLIBC_TUNABLES=glibc.malloc.mxfast=glibc.malloc.mxfast=A"),
    ],
    ids=["none", "plain", "no name", "no equals sign", "twice", "not UTF-8", "loader"],
)
def test_environment_is_passed_byte_for_byte(peer: Peer, env: tuple[bytes, ...]) -> None:
    assert executed(peer, (), env).env == env


@given(
    env=st.lists(st.one_of(BYTES, st.tuples(BYTES, BYTES).map(b"=".join)), max_size=20),
    args=st.lists(BYTES, max_size=5),
)
def test_any_environment_and_arguments_are_passed(env: list[bytes], args: list[bytes]) -> None:
    own = [b"bootstrap", *args]  # what comes before a command may be the launcher's
    with tempfile.TemporaryDirectory() as base, listening(Path(base) / "s") as peer:
        request = executed(peer, own, env)
    assert (list(request.args), list(request.env)) == (own, env)


@pytest.mark.parametrize("mebibytes", [2, 5])
def test_large_environment_reaches_a_service_that_reads_slowly(peer: Peer, mebibytes: int) -> None:
    size = (mebibytes << 20) // 64
    env = {f"NAME_{number}": f"{number:04}" * (size // 4) for number in range(64)}
    assert size < ONE_STRING
    assert mebibytes << 20 < KERNEL_LIMIT
    with large_environments(), peer.launched("bootstrap", env=env) as process:
        with peer.accept() as connection:
            connection.narrow()
            request = connection.request(chunk=5003)
            request.close()
            connection.send(b"E\x03")
        assert process.wait(SECONDS) == 3
    assert request.env == tuple(f"{name}={value}".encode() for name, value in env.items())


@pytest.mark.parametrize("args", [(), ("bootstrap",), ("admit",), ("a", "", "ü", "--socket", "x")])
def test_arguments_are_passed_without_the_launchers_own(peer: Peer, args: tuple[str, ...]) -> None:
    with peer.launched(*args), peer.accept() as connection:
        request = connection.request()
        request.close()
    assert request.args == tuple(map(os.fsencode, args))


def test_too_many_arguments_start_nothing(peer: Peer) -> None:
    with peer.launched("bootstrap", "x" * (64 << 10)) as process, peer.accept() as connection:
        assert process.wait(SECONDS) == 125
        assert connection.is_at_end()
        assert b"the arguments 64 KiB" in process.communicate()[1]


def test_directory_and_streams_are_the_launchers_own(peer: Peer, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("in", "out", "err")]
    files = [path.open("w+b") for path in paths]
    with (
        peer.launched(stdin=files[0], stdout=files[1], stderr=files[2], cwd=tmp_path),
        peer.accept() as connection,
    ):
        request = connection.request()
        received = [Path(f"/proc/self/fd/{number}").readlink() for number in request.streams]
        directory = Path(f"/proc/self/fd/{request.directory}").readlink()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fchmod(request.directory, 0o700)  # O_PATH: a place, and nothing that can be read
        request.close()
    for file in files:
        file.close()
    assert (received, directory) == (paths, tmp_path)


def test_deleted_directory_is_passed_all_the_same(peer: Peer, tmp_path: Path) -> None:
    deleted = tmp_path / "deleted"
    deleted.mkdir()
    inode = deleted.stat().st_ino
    script = ["sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", *peer.command()]
    with subprocess.Popen(script, cwd=deleted) as process, peer.accept() as connection:
        request = connection.request()
        assert os.fstat(request.directory).st_ino == inode
        request.close()
        connection.send(b"E\x00")
        assert process.wait(SECONDS) == 0


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_stream_is_passed_as_dev_null(peer: Peer, closed: str) -> None:
    script = ["sh", "-c", f'exec "$@" {closed}', "sh", *peer.command()]
    with (
        subprocess.Popen(script, stdin=-1, stdout=-1, stderr=-1) as process,
        peer.accept() as connection,
    ):
        request = connection.request()
        null = Path("/dev/null").stat().st_rdev
        missing = {
            number
            for number, stream in enumerate(request.streams)
            if os.fstat(stream).st_rdev == null
        }
        request.close()
        connection.send(b"E\x00")
        process.communicate(timeout=SECONDS)
        assert process.returncode == 0
    assert missing == {int(part[0]) for part in closed.split()}
