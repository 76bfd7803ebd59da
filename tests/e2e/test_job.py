"""A real agent's jobs, through the airlock and back."""

import pytest

from tests.lab.lab import Fleet

pytestmark = pytest.mark.lab


@pytest.mark.parametrize(
    ("command", "result"),
    [
        ("exit 0", ("0", "", "")),
        ("exit 1", ("1", "", "")),
        ("exit 7", ("7", "", "")),
        ("exit 77", ("77", "", "")),
        ("exit 125", ("-1", "", "process_run_error")),
        ("exit 255", ("255", "", "")),
    ],
)
def test_the_jobs_own_status_arrives(
    fleet: Fleet, command: str, result: tuple[str, str, str]
) -> None:
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env(command))
        assert fleet.control.finished(job) == result, job.log.decode()
