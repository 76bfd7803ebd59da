"""The agent's user is there while the lab is, and the machine's own files stay as they are."""

import grp
import os
import pwd
from pathlib import Path

import pytest

from tests.lab import users
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab


@pytest.mark.usefixtures("lab")
def test_user_is_as_the_stack_makes_it_but_not_in_the_group_docker() -> None:
    account = pwd.getpwnam(users.NAME)
    assert (account.pw_uid, account.pw_gid) == (2000, 2000)
    assert os.getgrouplist(users.NAME, users.GID) == [users.GID]
    docker = grp.getgrnam("docker").gr_gid
    for file, first in (("subuid", 2000), ("subgid", docker)):
        lines = [line for line in Path("/etc", file).read_text().splitlines() if users.NAME in line]
        assert lines == [f"{users.NAME}:{first}:1", f"{users.NAME}:100000:65536"]


def test_files_are_mounted_over_and_come_back(lab: Lab, tmp_path: Path) -> None:
    """Also where they are mounted already: the second mount goes, the lab's own stays."""
    assert lab.docker
    before = {name: Path("/etc", name).stat().st_ino for name in ("passwd", "subuid")}
    with users.agent_user(tmp_path):
        assert Path("/etc/passwd").samefile(tmp_path / "passwd")
        assert Path("/etc/passwd").read_text().count(f"\n{users.NAME}:") == 1
    assert {name: Path("/etc", name).stat().st_ino for name in before} == before
