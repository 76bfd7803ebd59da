"""Jobs of the resident service, with the real agent."""

import pytest

from tests.lab.lab import Fleet
from tests.lab.service import serving

pytestmark = pytest.mark.lab


def test_job_runs_and_its_status_arrives(fleet: Fleet) -> None:
    with (
        serving(fleet) as service,
        fleet.agent(bootstrap_script=service.bootstrap_script),
    ):
        job = fleet.control.enqueue(fleet.env("echo in the sandbox; exit 7"))
        result = fleet.control.finished(job)
    assert result == ("7", "", ""), job.log.decode()
    assert b"\nin the sandbox" in job.log
