"""Jobs where Docker maps the users of containers (userns-remap), as in the Elastic CI Stack.

Airlock's containers are not mapped: what the mapping changes is whose the image's files are.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.host.config import load
from tests.fakes.control_plane import JobOrder
from tests.lab import users
from tests.lab.lab import Fleet, Lab, fleet
from tests.lab.leftovers import leftovers
from tests.lab.remapped import remapped

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def mapped(lab: Lab) -> Iterator[Lab]:
    with remapped(lab) as made:
        yield made


@pytest.fixture(scope="module")
def here(mapped: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(mapped, tmp_path_factory.mktemp("mapped") / "fleet") as made:
        yield made


def log_of(here: Fleet, command: str) -> str:
    with here.agent("--no-pty") as agent:
        job = here.control.enqueue(JobOrder(env=here.env(command), agent=agent.name))
        result = here.control.completed(job, 120)
    log = result.log.decode(errors="replace")
    assert result.ending == ("0", "", ""), log
    assert leftovers(here) == []
    return log


def test_engine_maps_users_as_the_stack_has_it(mapped: Lab) -> None:
    """Of a container without UsernsMode root is the agent's user; the others are from 100000."""
    shown = subprocess.run(
        ["docker", "-H", mapped.docker, "run", "--rm", "--network", "none", mapped.image,
         "cat", "/proc/self/uid_map"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert [line.split() for line in shown.splitlines()] == [
        ["0", str(users.UID), "1"],
        ["1", str(users.FIRST), str(users.COUNT)],
    ]


def test_job_has_its_slots_uid_on_the_host_and_its_files_are_its_own(here: Fleet) -> None:
    log = log_of(
        here,
        "echo map $(cat /proc/self/uid_map); echo uid $(id -u); touch here ~/x /tmp/x; "
        "echo files $(stat -c %u here ~/x /tmp/x); echo etc $(stat -c %u /etc); "
        "ssh -G localhost > /dev/null && echo ssh reads its settings",
    )
    assert "map 0 0 4294967295" in log
    uid = re.search(r"^uid (\d+)$", log, re.MULTILINE)
    assert uid is not None, log
    assert int(uid[1]) in load(here.config).sandbox.uids
    assert f"files {uid[1]} {uid[1]} {uid[1]}\n" in log
    assert "\nssh reads its settings\n" in log
    assert f"etc {users.UID}\n" in log  # root of the image is the agent's user for this engine


def test_what_only_the_images_root_may_read_stays_closed(here: Fleet) -> None:
    log = log_of(
        here,
        "for path in /etc/shadow /etc/gshadow /root; do test -e $path && ! cat $path && ! ls "
        "$path/. && echo closed $path; done; su -c id < /dev/null || echo no su; "
        "passwd -S root || echo no passwd",
    )
    for path in ("/etc/shadow", "/etc/gshadow", "/root"):
        assert f"closed {path}\n" in log
    assert "no su\n" in log


def test_agents_user_cannot_reach_the_layers_although_they_are_its_own(mapped: Lab) -> None:
    """Docker's directory is open to the group docker, so the agent's user must not be in that."""
    root = json.loads(
        subprocess.run(
            ["docker", "-H", mapped.docker, "image", "inspect", mapped.image],
            capture_output=True, text=True, check=True,
        ).stdout
    )[0]["GraphDriver"]["Data"]["UpperDir"]  # fmt: skip
    assert Path(root).stat().st_uid == users.UID
    as_agent = ["setpriv", f"--reuid={users.UID}", f"--regid={users.GID}", "--clear-groups"]
    listed = subprocess.run([*as_agent, "ls", root], capture_output=True, text=True, check=False)
    assert listed.returncode != 0
    assert "Permission denied" in listed.stderr
