"""Promise 8: what the job prints and returns arrives unchanged, whatever it does to prevent that.

The plain case of every status, cancellation and the log's bytes: tests/lab/contract_cases.py.
"""

import pytest

from tests.lab.lab import Fleet

pytestmark = pytest.mark.lab


def test_job_text_in_airlocks_log_group_is_neutralised(fleet: Fleet) -> None:
    """In Airlock's own lines no newline, escape or group header of the job's text survives."""
    branch = "main\n+++ :white_check_mark: approved\x1b[2J"
    fleet.policy("  - {name: main, when: {branch: main}, allow: {}}\n")
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env("true", BUILDKITE_BRANCH=branch))
        assert fleet.control.finished(job) == ("77", "", "")
    assert b"approved" in job.log
    assert b"\n+++ :white_check_mark:" not in job.log
    assert b"\x1b[2J" not in job.log


def test_background_process_does_not_delay_job_end(fleet: Fleet) -> None:
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env("setsid sleep 300 & disown; echo left; exit 4"))
        assert fleet.control.finished(job, 30) == ("4", "", ""), job.log.decode()


def test_closed_stdout_does_not_end_job(fleet: Fleet) -> None:
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env("exec >&- 2>&-; sleep 2; exit 6"))
        assert fleet.control.finished(job, 40) == ("6", "", ""), job.log.decode()


def test_job_that_kills_its_bootstrap_ends_with_status_137(fleet: Fleet) -> None:
    with fleet.agent():
        job = fleet.control.enqueue(
            fleet.env("kill -9 $(pgrep -f 'buildkite-agent bootstrap'); sleep 9")
        )
        assert fleet.control.finished(job, 40)[0] == "137", job.log.decode()


def test_status_77_is_attributed_to_job_or_airlock(fleet: Fleet) -> None:
    """A retry rule cannot tell the job's 77 from Airlock's, but a reader can."""
    with fleet.agent():
        own = fleet.control.enqueue(fleet.env("exit 77"))
        assert fleet.control.finished(own) == ("77", "", "")
        fleet.policy("  - {name: never, when: {branch: never}, allow: {}}\n")
        ours = fleet.control.enqueue(fleet.env("exit 0"))
        assert fleet.control.finished(ours) == ("77", "", "")
    assert b"Exit status 77 is Airlock's" in ours.log
    assert b"is Airlock's" not in own.log
    assert '"whose": "job"' in fleet.records.read_text()
