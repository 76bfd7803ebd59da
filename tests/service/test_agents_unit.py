"""The agent as a unit of systemd, as the Elastic CI Stack has it: stopped, restarted, killed.

    tests/lab/with_systemd .venv/bin/pytest tests/service/test_agents_unit.py

The contract of such agents is tests/e2e/test_contract_units.py.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.control_plane import Job
from tests.lab import systemd, users
from tests.lab.agent import children, command
from tests.lab.engine import eventually
from tests.lab.lab import GATE, Lab, open_gate
from tests.lab.leftovers import leftovers
from tests.lab.service import children_of, workers_of
from tests.lab.systemd import main_pid, shown, systemctl
from tests.lab.ways import UNITS, Host, host

pytestmark = [
    pytest.mark.lab,
    pytest.mark.systemd,
    pytest.mark.skipif(not systemd.UNITS.is_dir(), reason="needs tests/lab/with_systemd"),
]


@pytest.fixture(scope="module")
def here(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with host(lab, UNITS, tmp_path_factory.mktemp("unit")) as made:
        yield made


@pytest.fixture
def agent(here: Host) -> Iterator[str]:
    """The name of an agent's unit."""
    with systemd.agent_unit(here.agent, here.fleet.control, here.base / here.agent.name) as name:
        yield name


def running(here: Host) -> Job:
    """Return a job that waits at its gate, and then exits with 7."""
    env = here.fleet.env(f"echo the job runs; {GATE}; exit 7", BUILDKITE_AGENT_NAME=UNITS.name)
    job = here.fleet.control.enqueue(env)
    here.fleet.control.wait(job, lambda j: b"\nthe job runs" in j.log or j.finish)
    assert not job.finish, job.log.decode()
    return job


def next_job(here: Host) -> tuple[str, str, str]:
    job = here.fleet.control.enqueue(here.fleet.env("echo later", BUILDKITE_AGENT_NAME=UNITS.name))
    return here.fleet.control.finished(job)


def first_process() -> int:
    (record,) = Path("/run/airlock/jobs").glob("*/process")
    return int(json.loads(record.read_text())["pid"])


def launcher_of(agent: str) -> int:
    """Return the launcher among the children of a unit's agent."""
    (found,) = (pid for pid in children(main_pid(agent)) if b"airlock-launcher" in command(pid))
    return found


def log(here: Host) -> bytes:
    """Return what the agent has printed."""
    return (here.base / here.agent.name / "agent.log").read_bytes()


def score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def test_launcher_has_the_units_score_and_nothing_of_the_job_has(here: Host, agent: str) -> None:
    """The unit's OOMScoreAdjust=-1000. Workers have the service's, unless it protects.

    Without CAP_SYS_RESOURCE nobody can be protected; the two units then have other scores.
    """
    job = running(here)
    launcher, (worker,) = launcher_of(agent), workers_of(main_pid())
    for pid in (main_pid(agent), launcher):
        assert f"\nUid:\t{users.UID}\t" in Path(f"/proc/{pid}/status").read_text()
        assert score(pid) == systemd.AGENTS_SCORE
    assert score(main_pid()) == systemd.SERVICES_SCORE
    (reaper,) = (pid for pid, name in children_of(main_pid()).items() if name == "airlock:reaper")
    assert score(reaper) == systemd.SERVICES_SCORE
    assert score(worker) == max(systemd.SERVICES_SCORE, 0)
    first = first_process()
    assert {score(pid) for pid in (first, *children(first))} == {500}
    open_gate(job)
    assert here.fleet.control.finished(job) == ("7", "", ""), job.log.decode()


def test_stop_waits_for_the_job(here: Host, agent: str) -> None:
    job = running(here)
    systemctl("stop", "--no-block", agent)
    eventually(lambda: shown(agent, "ActiveState") == "deactivating", "systemd stops the unit")
    open_gate(job)
    assert here.fleet.control.finished(job) == ("7", "", ""), job.log.decode()
    eventually(lambda: shown(agent, "ActiveState") == "inactive", "the unit is stopped")
    assert shown(agent, "Result") == "success"
    assert leftovers(here.fleet) == []


def test_restart_waits_for_the_job_and_the_next_agent_runs_jobs(here: Host, agent: str) -> None:
    job, before = running(here), main_pid(agent)
    systemctl("restart", "--no-block", agent)
    eventually(lambda: shown(agent, "ActiveState") == "deactivating", "systemd stops the unit")
    open_gate(job)
    assert here.fleet.control.finished(job) == ("7", "", ""), job.log.decode()
    eventually(lambda: main_pid(agent) not in (0, before), "another agent runs")
    assert next_job(here) == ("0", "", "")
    assert leftovers(here.fleet) == []


def test_second_signal_to_a_unit_that_is_stopped_cancels_the_job(here: Host, agent: str) -> None:
    """As an operator hastens a stop."""
    job = running(here)
    systemctl("stop", "--no-block", agent)
    eventually(lambda: b"Gracefully stopping" in log(here), "the agent is stopping")
    systemctl("kill", "--kill-whom=main", agent)
    assert here.fleet.control.finished(job)[1:] == ("SIGTERM", "agent_stop")
    eventually(lambda: shown(agent, "ActiveState") != "deactivating", "the unit is stopped")
    assert leftovers(here.fleet) == []


def test_killed_agent_leaves_a_launcher_whose_job_is_cancelled(here: Host, agent: str) -> None:
    """KillMode=process: systemd leaves the launcher alone, also when it starts the next agent."""
    job, launcher = running(here), launcher_of(agent)
    systemctl("kill", "--kill-whom=main", "--signal=SIGKILL", agent)
    eventually(lambda: shown(agent, "ActiveState") == "failed", "the agent is gone")
    systemctl("start", agent)
    eventually(lambda: not Path(f"/proc/{launcher}").exists(), "the launcher ends by itself", 20)
    (ended,) = (one for one in here.fleet.events(job.id) if one["event"] == "ended")
    assert (ended["ended"]["kind"], ended["ended"]["by"]) == ("cancelled", "SIGHUP")
    assert next_job(here) == ("0", "", "")
    assert leftovers(here.fleet) == []


def test_both_units_are_restarted_under_a_job(here: Host, agent: str) -> None:
    """Socket and service of Airlock first: the job is neither's."""
    job = running(here)
    systemctl("restart", systemd.SERVICE)
    systemctl("restart", "--no-block", agent)
    open_gate(job)
    assert here.fleet.control.finished(job) == ("7", "", ""), job.log.decode()
    assert next_job(here) == ("0", "", "")
    assert leftovers(here.fleet) == []
