"""The first program of a builder's container: user namespace, descriptors, and what fails."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
ls -l /proc/self/fd
"""


@contextmanager
def begun(tmp_path: Path, *program: str) -> Iterator[tuple[socket.socket, int]]:
    """Start it as a container would, and yield its connection and its pid."""
    tmp_path.chmod(0o755)
    with (
        control.listening(tmp_path, "control", USERS.start) as listener,
        subprocess.Popen(
            [str(launcher.builder()), str(tmp_path / "control"), *program],
            user=USERS.start, group=USERS.start, extra_groups=[],
            env={"PATH": "/usr/bin:/bin", "FROM_IMAGE": "kept"},
        ) as process,
    ):  # fmt: skip
        try:
            connection, pid = control.connected(listener)
            with connection:
                yield connection, pid
            process.wait(20)
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
    assert f"3 -> socket:[{inode}]" in text
    others = [line for line in text.splitlines() if " -> socket:" in line]
    assert len(others) == 1, "nothing else was passed"


def test_without_a_mapping_it_is_not_root(tmp_path: Path) -> None:
    output = os.memfd_create("output")
    with (
        begun(reachable(tmp_path), "/bin/sh", "-c", SHOW) as (connection, _),
        pytest.raises(CannotStart, match="setgroups: "),
    ):
        control.begin(connection, (0, output))
    assert shown(output) == ""
    os.close(output)


def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    output = os.memfd_create("output")
    with begun(reachable(tmp_path), "/no/such/program") as (connection, pid):
        mapped(pid)
        with pytest.raises(CannotStart, match="execve: No such file or directory"):
            control.begin(connection, (0, output))
    os.close(output)


def test_a_peer_that_goes_away_ends_it(tmp_path: Path) -> None:
    with begun(reachable(tmp_path), "/bin/sh") as (connection, pid):
        mapped(pid)
        connection.close()


def test_a_word_without_descriptors_is_refused(tmp_path: Path) -> None:
    with begun(reachable(tmp_path), "/bin/sh") as (connection, pid):
        mapped(pid)
        connection.send(b"\n")
        assert connection.recv(100).startswith(b"mapping ")


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
    with begun(reachable(tmp_path), "/bin/sh") as (_, pid):
        mapped(pid)
        with pytest.raises(CannotStart, match="Operation not permitted"), control.explained():
            mapped(pid)  # only once


def test_a_socket_is_its_owners_alone_and_its_name_may_be_long(tmp_path: Path) -> None:
    directory = tmp_path / ("x" * 120)
    directory.mkdir()
    with control.listening(directory, "control", USERS.start):
        status = (directory / "control").stat()
        assert (status.st_uid, status.st_mode & 0o777) == (USERS.start, 0o600)
