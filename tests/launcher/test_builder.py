"""The first program of a builder's container: user namespace, descriptors, and what fails."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bootstrap.errors import CannotStart
from bootstrap.sandbox.builds import control
from tests.lab import launcher

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="maps users of another namespace")

USERS = range(0x7000_0000, 0x7000_0000 + 65536)
# What its program is, what it has, and what listens at its descriptor 3.
SHOW = """
echo "$(id -u):$(id -g) $(cat /proc/self/uid_map) $(cat /proc/self/gid_map)"
grep -E '^(CapEff|NoNewPrivs|Groups)' /proc/self/status
echo "LISTEN $LISTEN_FDS $([ "$LISTEN_PID" = $$ ] && echo mine) $FROM_IMAGE"
readlink /proc/self/ns/mnt
echo "a problem" >&2
ls -l /proc/self/fd
"""
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "FROM_IMAGE": "kept"}
FAILED = 125


@contextmanager
def begun(
    tmp_path: Path,
    *program: str,
    status: int = 0,
    user: int = USERS.start,
    groups: tuple[int, ...] = (),
    env: Mapping[str, str] = ENVIRONMENT,
    prefix: tuple[str, ...] = (),
) -> Iterator[tuple[socket.socket, int]]:
    """Start it as a container would, and yield its connection and its pid. It ends with `status`.

    `prefix` is a command that becomes it.
    """
    tmp_path.chmod(0o755)
    command = [*prefix, str(launcher.builder()), str(tmp_path / "control"), *program]
    with (
        control.listening(tmp_path, "control", user) as listener,
        subprocess.Popen(
            command, user=user, group=user, extra_groups=groups, env=env, stdin=subprocess.DEVNULL
        ) as process,
    ):
        try:
            connection, pid = control.connected(listener)
            with connection:
                yield connection, pid
            assert process.wait(20) == status
        finally:
            process.kill()


def reachable(tmp_path: Path) -> Path:
    """Return a directory that other users can enter; pytest's own are its user's alone."""
    for path in (tmp_path, *tmp_path.parents):
        if path.owner() == "root" and path != Path("/tmp"):
            path.chmod(path.stat().st_mode | 0o011)
    return tmp_path


def mapped(pid: int) -> None:
    process = os.open(f"/proc/{pid}", os.O_PATH)
    control.map_users(process, USERS)
    os.close(process)


def shown(output: int) -> str:
    return os.pread(output, 10000, 0).decode()


def test_it_becomes_root_of_its_namespace_and_has_what_it_was_passed(tmp_path: Path) -> None:
    output = os.memfd_create("output")
    with begun(reachable(tmp_path), "/bin/sh", "-c", SHOW) as (connection, pid):
        mapped(pid)
        with control.listening(tmp_path, "socket", 0) as listener:
            control.begin(connection, (listener.fileno(), output))
            inode = os.fstat(listener.fileno()).st_ino
    text = shown(output)
    os.close(output)
    whole = f"0 {USERS.start} {len(USERS)}"
    first = text.splitlines()[0].split()
    assert first[0] == "0:0"
    assert " ".join(first[1:4]) == " ".join(first[4:7]) == whole
    assert "CapEff:\t000001ff" in text, "every capability, in its namespace"
    assert "Groups:\t \n" in text
    assert "LISTEN 1 mine kept" in text
    assert "mnt:[" in text
    assert str(Path("/proc/self/ns/mnt").readlink()) not in text
    assert "a problem\n" in text
    assert " 0 -> /dev/null\n" in text
    assert f"3 -> socket:[{inode}]" in text
    others = [line for line in text.splitlines() if " -> socket:" in line]
    assert len(others) == 1, "nothing else was passed"


@pytest.mark.parametrize(
    "more",
    [
        {"user": USERS.start + 5, "groups": (USERS.start + 7,)},
        {"prefix": ("/bin/sh", "-c", 'exec "$0" "$@" <&-')},
        {"env": ENVIRONMENT | {f"V{number}": "" for number in range(5000)}},
    ],
    ids=["as another user", "without a standard input", "with too many variables"],
)
def test_however_it_is_started(tmp_path: Path, more: dict[str, Any]) -> None:
    output = os.memfd_create("output")
    program = ("/bin/sh", "-c", "id; readlink /proc/$$/fd/0; true")
    with begun(reachable(tmp_path), *program, **more) as (connection, pid):
        mapped(pid)
        with control.listening(tmp_path, "socket", 0) as listener:
            control.begin(connection, (listener.fileno(), output))
    text = shown(output)
    os.close(output)
    assert text.startswith("uid=0(root) gid=0(root)")
    assert str(USERS.start) not in text
    assert "socket:" not in text


def test_without_a_mapping_it_is_not_root(tmp_path: Path) -> None:
    output = os.memfd_create("output")
    with (
        begun(reachable(tmp_path), "/bin/sh", "-c", SHOW, status=FAILED) as (connection, _),
        pytest.raises(CannotStart, match="setgroups: "),
    ):
        control.begin(connection, (0, output))
    assert shown(output) == ""
    os.close(output)


def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    output = os.memfd_create("output")
    with begun(reachable(tmp_path), "/no/such/program", status=FAILED) as (connection, pid):
        mapped(pid)
        with pytest.raises(CannotStart, match="execve: No such file or directory"):
            control.begin(connection, (0, output))
    os.close(output)


def test_a_peer_that_goes_away_ends_it(tmp_path: Path) -> None:
    with begun(reachable(tmp_path), "/bin/sh", status=FAILED) as (connection, pid):
        mapped(pid)
        connection.close()


@pytest.mark.parametrize("descriptors", [[], [0]])
def test_a_word_without_its_descriptors_is_refused(tmp_path: Path, descriptors: list[int]) -> None:
    with begun(reachable(tmp_path), "/bin/sh", status=FAILED) as (connection, pid):
        mapped(pid)
        socket.send_fds(connection, [b"\n"], descriptors)
        assert connection.recv(100).startswith(b"mapping ")


def test_a_refused_user_namespace_is_named(tmp_path: Path) -> None:
    """Nobody in a changed root gets one (unshare(2))."""
    shutil.copy(launcher.builder(), reachable(tmp_path))
    command = ["chroot", f"--userspec={USERS.start}:{USERS.start}", str(tmp_path)]
    tmp_path.chmod(0o755)
    with (
        control.listening(tmp_path, "control", USERS.start) as listener,
        subprocess.Popen([*command, "/airlock-builder", "/control", "/bin/sh"]) as process,
    ):
        with pytest.raises(CannotStart, match="unshare: Operation not permitted"):
            control.connected(listener)
        assert process.wait(20) == FAILED


@pytest.mark.parametrize("arguments", [[], ["/no/such/socket"], ["/no/such/socket", "/bin/sh"]])
def test_without_a_socket_or_a_program_it_fails(arguments: list[str]) -> None:
    failed = subprocess.run([launcher.builder(), *arguments], check=False)
    assert failed.returncode == FAILED


def test_a_builder_that_does_not_come_is_waited_for_in_vain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "PATIENCE", 0.1)
    with (
        control.listening(tmp_path, "control", 0) as listener,
        pytest.raises(CannotStart, match="does not answer"),
    ):
        control.connected(listener)


def test_users_that_cannot_be_mapped_are_a_reason(tmp_path: Path) -> None:
    with begun(reachable(tmp_path), "/bin/sh", status=FAILED) as (_, pid):
        mapped(pid)
        with pytest.raises(CannotStart, match="Operation not permitted"), control.explained():
            mapped(pid)  # only once


def test_a_socket_is_its_owners_alone_and_its_name_may_be_long(tmp_path: Path) -> None:
    directory = tmp_path / ("x" * 120)
    directory.mkdir()
    with control.listening(directory, "control", USERS.start):
        status = (directory / "control").stat()
        assert (status.st_uid, status.st_mode & 0o777) == (USERS.start, 0o600)
