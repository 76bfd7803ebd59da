"""Prepared networks: a job of the service adopts one, which is removed with it."""

from collections.abc import Iterator

import pytest

from tests.lab import prepared
from tests.lab.engine import eventually
from tests.lab.lab import GATE, Fleet, open_gate
from tests.lab.leftovers import leftovers
from tests.lab.service import Serving, serving

pytestmark = pytest.mark.lab


@pytest.fixture
def service(fleet: Fleet) -> Iterator[Serving]:
    """A service with two prepared networks; no job and no network of it stays."""
    with serving(fleet, "networks-ahead = 2") as made:
        prepared.wait_for(2)
        yield made


def test_job_adopts_a_prepared_network_which_is_removed_with_it(
    fleet: Fleet, service: Serving
) -> None:
    before = {path.name for path in prepared.ready()}
    with fleet.agent(bootstrap_script=service.bootstrap_script):
        job = fleet.control.enqueue(fleet.env(f"hostname; {GATE}"))
        fleet.control.wait(job, lambda j: b"\nairlock" in j.log)
        used = prepared.network_mode(fleet, job)
        (adopted,) = before - {path.name for path in prepared.ready()}
        open_gate(job)
        assert fleet.control.finished(job) == ("0", "", ""), job.log.decode()
    assert used.startswith("container:")
    prepared.wait_for(2)
    eventually(lambda: adopted not in prepared.containers(fleet), "its holder is removed")
    assert [path.name for path in prepared.ready()] == prepared.containers(fleet)
    assert leftovers(fleet) == []
    assert "internal" not in service.log.read_text()
