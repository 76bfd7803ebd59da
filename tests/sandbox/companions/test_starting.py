"""What surrounds the start of a service's container: its files, its record, and what failed."""

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bootstrap.errors import CannotStart
from bootstrap.host.config import Host, Sandbox
from bootstrap.policy.services import ServiceContainer
from bootstrap.sandbox.companions import starting
from bootstrap.sandbox.companions.output import Output
from bootstrap.sandbox.companions.starting import Place, ended, failed
from bootstrap.sandbox.leases.lease import Lease
from tests.sandbox.companions.given import companion

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")
NOTHING: Any = None  # of the engine: what is tested here does not ask it


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "sandbox").mkdir()
    (tmp_path / "sandbox/resolv.conf").write_text("nameserver 127.0.0.53\n")
    return Place(
        client=NOTHING,
        host=Host(sandbox=Sandbox(image="job:1")),
        lease=Lease(token="t-1", directory=tmp_path, uid=61007),
        container=NOTHING,
        names=("db", "cache"),
    )


@pytest.fixture
def process() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["sleep", "60"]) as started:
        yield started
        started.kill()


def test_its_files_are_in_a_directory_of_its_own(place: Place) -> None:
    one = companion(ServiceContainer(image="ci/db:1", user="postgres"))
    spec = starting._prepared(place, one)  # noqa: SLF001 - a step of `start`
    own = place.lease.directory / "service-db"
    assert {mount.source for mount in spec.mounts} == set(own.iterdir())
    assert (spec.user, spec.name) == (61007, "airlock-service-t-1.db")
    assert stat.S_IMODE(own.stat().st_mode) == 0o755
    assert {stat.S_IMODE(path.stat().st_mode) for path in own.iterdir()} == {0o444}
    assert "postgres:x:61007:61007:" in (own / "passwd").read_text()
    assert "postgres:x:61007:" in (own / "group").read_text()
    assert "127.0.0.1\tdb cache\n" in (own / "hosts").read_text()
    assert (own / "resolv.conf").read_text() == "nameserver 127.0.0.53\n", "the job's own"


def test_its_user_has_its_name_if_the_rule_names_none(place: Place) -> None:
    starting._prepared(place, companion())  # noqa: SLF001 - as above
    assert "\ndb:x:61007:" in (place.lease.directory / "service-db/passwd").read_text()


@needs_root
def test_one_in_another_network_is_not_let_run() -> None:
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo ready; exec sleep 60"], stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == b"ready\n"
        with pytest.raises(CannotStart, match="the service db is not in the job's network"):
            starting._check_network(companion(), other.pid, os.getpid())  # noqa: SLF001 - as above
        other.kill()
    starting._check_network(companion(), os.getpid(), os.getpid())  # noqa: SLF001 - as above


def test_a_failure_has_the_end_of_the_log_and_what_to_look_at(tmp_path: Path) -> None:
    output = Output(tmp_path, "db", limit=1000)
    assert failed(companion(), output, "is not ready").details == ("db printed nothing",)
    output.write(b"".join(b"line %d\n" % number for number in range(30)))
    found = failed(companion(), output, "is not ready")
    output.close()
    assert found.problem == "the service db is not ready"
    assert found.details == tuple(f"db: line {number}" for number in range(10, 30))
    assert "Nothing of the job has run. See allow.services.db of the rule" in found.hint
    assert ended(companion(), output, 3).problem == (
        "the service db ended with exit status 3 before it was ready"
    )
    assert "an unknown exit status" in ended(companion(), output, None).problem
