"""The service's parts, each on its own: configuration, listener, rate, refusals."""

import grp
import os
import pwd
import socket
from pathlib import Path

import pytest

from bootstrap.errors import CannotStart, WrongConfiguration
from bootstrap.service import listener as listeners
from bootstrap.service.configuration import Configuration, agents
from bootstrap.service.listener import listener, peer
from bootstrap.service.rate import BURST, Rate
from bootstrap.service.refusing import Refuser

LEAST = '[sandbox]\nimage = "job:1"\n[service]\nagents = ["root"]\n'


def written(tmp_path: Path, text: str = LEAST) -> Path:
    path = tmp_path / "airlock.toml"
    path.write_text(text)
    path.chmod(0o644)
    return path


def test_changed_file_is_read_again(tmp_path: Path) -> None:
    path = written(tmp_path)
    found = Configuration(path)
    assert not found.refresh()
    written(tmp_path, LEAST.replace("job:1", "job:23"))
    assert found.refresh()
    assert found.host().sandbox.image == "job:23"
    assert found.generation == 1
    assert found.summary() == ("airlock.toml has changed, and counts for the next job",)


def test_mistakes_are_raised_for_each_job_until_they_are_corrected(tmp_path: Path) -> None:
    found = Configuration(written(tmp_path))
    written(tmp_path, "broken")
    assert found.refresh()
    for _ in range(2):
        with pytest.raises(WrongConfiguration, match="is not TOML"):
            found.host()
    assert found.last_valid.sandbox.image == "job:1"
    written(tmp_path, LEAST + "[paht]\n")
    assert found.refresh()
    assert found.summary() == (
        f"{tmp_path}/airlock.toml has 1 mistake",
        'unknown key "paht"; did you mean "paths"?',
        "until it is corrected, jobs end with 78",
    )
    written(tmp_path)
    assert found.refresh()
    assert found.host().sandbox.image == "job:1"


def test_removed_file_is_a_mistake_too(tmp_path: Path) -> None:
    path = written(tmp_path)
    found = Configuration(path)
    path.unlink()
    assert found.refresh()
    with pytest.raises(WrongConfiguration, match="No such file"):
        found.host()


def test_agents_are_their_users_and_root() -> None:
    nobody = pwd.getpwnam("nobody")
    found = agents(("nobody",))
    assert found.uids == {0, nobody.pw_uid}
    assert found.gid == nobody.pw_gid


def test_unknown_user_and_different_groups_are_mistakes() -> None:
    with pytest.raises(WrongConfiguration, match="'no-such-user', and this host has no such user"):
        agents(("no-such-user",))
    with pytest.raises(WrongConfiguration, match="root, nobody, have different primary groups"):
        agents(("root", "nobody"))


def test_own_socket_is_for_one_group(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files to other groups")
    gid = grp.getgrnam("nogroup").gr_gid
    found = listener(tmp_path / "socket", gid, {})
    with found.socket:
        status = found.path.stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (0, gid, 0o660)
        found.remove()
        assert not found.path.exists()


def test_socket_of_a_killed_service_is_replaced_and_a_living_one_s_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with listener(path, os.getgid(), {}).socket as alive:
        monkeypatch.setattr(listeners, "PATIENCE", 0.1)
        with pytest.raises(CannotStart, match="another service has the socket"):
            listener(path, os.getgid(), {})
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            accepted, _ = alive.accept()
            with accepted:
                assert peer(accepted) == os.geteuid()


def test_socket_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="cannot be created: No such file"):
        listener(tmp_path / "absent/socket", 0, {})


def test_systemd_s_variables_of_another_process_are_ignored(tmp_path: Path) -> None:
    with listener(tmp_path / "socket", os.getgid(), {"LISTEN_PID": "1", "LISTEN_FDS": "1"}).socket:
        assert (tmp_path / "socket").exists()


def test_more_than_one_socket_of_systemd_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WrongConfiguration, match="systemd passed 2 sockets, expected one"):
        listener(tmp_path / "socket", 0, {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2"})


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_rate_allows_a_burst_and_then_so_many_per_second() -> None:
    clock = Clock()
    rate = Rate(clock)
    assert [rate.allows(1, 64) for _ in range(int(64 * BURST) + 1)].count(True) == 64 * BURST
    assert rate.allows(2, 64)
    clock.now = 0.5
    assert [rate.allows(1, 64) for _ in range(40)].count(True) == 32


def test_refuser_answers_and_goes_on_after_it_was_killed() -> None:
    refuser = Refuser()
    for _ in range(2):
        theirs, ours = socket.socketpair()
        with theirs:
            theirs.settimeout(10)
            refuser.refuse(ours, b"Rno")
            refuser.proceed()
            assert not refuser.waits
            assert theirs.recv(9) == b"Rno"
            assert theirs.recv(9) == b""
        os.kill(refuser.pid, 9)
        pid, _ = os.waitpid(refuser.pid, 0)
        refuser.ended(pid)
