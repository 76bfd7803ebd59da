"""A replay on an engine that maps the users of other containers (userns-remap)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import developer as developers
from tests.lab import lab as labs
from tests.lab.remapped import remapped
from tests.replay.conftest import Replays

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def mapping(lab: labs.Lab) -> Iterator[labs.Lab]:
    with remapped(lab) as made:
        yield made


@pytest.fixture
def replays(mapping: labs.Lab, tmp_path: Path) -> Iterator[Replays]:
    with (
        labs.fleet(mapping, tmp_path / "fleet") as fleet,
        developers.developer(mapping) as developer,
    ):
        yield Replays(fleet, developer)


def test_job_has_the_developers_uid(replays: Replays) -> None:
    done = replays.run("id -u; cat README.md; curl -s -m 2 http://169.254.169.254/ || exit 5")
    assert done.returncode == 5, done.stderr.decode()
    assert f"\n{replays.developer.uid}\r\n".encode() in done.stdout
    assert replays.remains() == []


def test_working_copy_is_used_and_not_changed(replays: Replays) -> None:
    mine = replays.working_copy("mine")
    before = replays.fingerprint(mine)
    done = replays.run("echo by the job > README.md; rm -rf .git", "--checkout", str(mine))
    assert done.returncode == 0, done.stderr.decode()
    assert replays.fingerprint(mine) == before
    assert replays.remains() == []
