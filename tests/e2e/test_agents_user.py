"""Agents that are not root: what their jobs have, what becomes of them, and what the user gets."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap.host.config import load
from tests.fakes.control_plane import Job, JobOrder, JobResult
from tests.lab import unit, users
from tests.lab.agent import Agent
from tests.lab.engine import OURS, eventually
from tests.lab.lab import GATE, Lab, open_gate
from tests.lab.leftovers import leftovers
from tests.lab.ways import SERVICE, Host, host

pytestmark = pytest.mark.lab

# Quiet, so that no write fails when the agent is gone; what ran shows in the checkout.
QUIET = "trap 'touch trap-ran; exit 3' TERM; touch job-ran; sleep 300 & wait"


@pytest.fixture(scope="module")
def here(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with host(lab, SERVICE, tmp_path_factory.mktemp("user")) as made:
        yield made


@contextmanager
def agent(here: Host, name: str = "agent-1", *, pty: bool = True) -> Iterator[Agent]:
    one = replace(here.agent, name=name, pty=pty)
    with one.running(here.fleet.control, here.base / name) as running:
        yield running


def enqueued(here: Host, agent: Agent, command: str) -> Job:
    env = here.fleet.env(command, BUILDKITE_AGENT_NAME=agent.name)
    return here.fleet.control.enqueue(JobOrder(env=env, agent=agent.name))


def begun(here: Host, agent: Agent, command: str = GATE) -> Job:
    """Give the agent a job, and return it when its command runs."""
    job = enqueued(here, agent, f"echo the job runs; {command}")
    here.fleet.control.wait(job, lambda j: b"\nthe job runs" in j.log or j.finish)
    assert not job.finish, job.log.decode()
    return job


def done(here: Host, agent: Agent, command: str) -> JobResult:
    return here.fleet.control.completed(enqueued(here, agent, command))


def worker_of(here: Host) -> int:
    """Return the process of the service that runs the only job."""
    assert here.service
    (worker,) = here.service.workers()
    return worker


def reaper(here: Host) -> int:
    """Return the process of the service that clears what killed workers leave."""
    assert here.service
    return here.service.chores()["reaper"]


def first_process() -> int:
    """Return the first process of the only job's container."""
    (record,) = Path("/run/airlock/jobs").glob("*/process")
    return int(json.loads(record.read_text())["pid"])


def score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def ids(pid: int, what: str) -> set[int]:
    """Return a process's real, effective, saved and filesystem user (Uid) or group (Gid)."""
    text = Path(f"/proc/{pid}/status").read_text()
    return {int(one) for one in re.search(rf"^{what}:(.*)$", text, re.MULTILINE)[1].split()}  # type: ignore[index]


def test_job_has_neither_the_agents_user_nor_its_protection(here: Host) -> None:
    with agent(here) as running:
        job = begun(here, running)
        worker, inside = worker_of(here), first_process()
        assert ids(running.pid, "Uid") == ids(running.bootstrap_pid(), "Uid") == {users.UID}
        assert ids(worker, "Uid") == ids(reaper(here), "Uid") == {0}
        (uid,) = ids(inside, "Uid")
        assert uid in load(here.fleet.config).sandbox.uids
        assert ids(inside, "Gid") == {uid}
        assert score(running.pid) == (-1000 if unit.can_protect() else 0)
        assert (score(worker), score(inside)) == (0, 500)
        assert here.service
        assert score(reaper(here)) == score(here.service.pid)
        open_gate(job)
        assert here.fleet.control.finished(job) == ("0", "", "")
    assert leftovers(here.fleet) == []


def test_unit_that_is_stopped_lets_the_job_end_by_itself(here: Host) -> None:
    """`systemctl stop` with KillMode=process: one SIGTERM to the agent alone."""
    with agent(here) as running:
        job = begun(here, running, f"{GATE}; exit 7")
        running.process.send_signal(signal.SIGTERM)
        eventually(
            lambda: b"Gracefully stopping" in running.log.read_bytes(), "the agent is stopping"
        )
        open_gate(job)
        assert here.fleet.control.finished(job) == ("7", "", ""), job.log.decode()
        assert running.process.wait(30) == 0
    assert leftovers(here.fleet) == []


def test_second_stop_cancels_the_job(here: Host) -> None:
    with agent(here) as running:
        job = begun(here, running, QUIET)
        running.process.send_signal(signal.SIGTERM)
        eventually(lambda: b"Gracefully stopping" in running.log.read_bytes(), "it is stopping")
        running.process.send_signal(signal.SIGTERM)
        assert here.fleet.control.finished(job)[1:] == ("SIGTERM", "agent_stop")
    assert leftovers(here.fleet) == []


@pytest.mark.parametrize("pty", [True, False])
def test_job_of_a_killed_agent_is_cancelled_with_its_hooks_and_leaves_nothing(
    here: Host, *, pty: bool
) -> None:
    """KillMode=process leaves the launcher; the agent starts again and takes other jobs."""
    name = f"killed-{pty}"
    with agent(here, name, pty=pty) as running:
        job = begun(here, running, QUIET)
        running.process.kill()
        assert here.service
        workers = here.service.workers
        eventually(lambda: not workers() and not leftovers(here.fleet), "all of it is gone", 20)
    (ended,) = (one for one in here.fleet.events(job.id) if one["event"] == "ended")
    assert (ended["ended"]["kind"], ended["ended"]["by"]) == ("cancelled", "SIGHUP")
    ran = {path.name for path in (here.fleet.base / "state/workspaces").rglob("*-ran")}
    assert ran == {"job-ran", "trap-ran"}
    with agent(here, name, pty=pty) as running:
        assert done(here, running, "test -e job-ran || echo next").ending == ("0", "", "")


def as_agent(*command: str) -> "subprocess.CompletedProcess[str]":
    """Run a program as the agent's user."""
    return subprocess.run(
        [*unit.command(), *command], capture_output=True, text=True, check=False, cwd="/"
    )


def test_agents_user_gets_nothing_of_the_host(here: Host) -> None:
    fleet = here.fleet
    with agent(here) as running:
        job = begun(here, running)
        worker, inside = worker_of(here), first_process()
        directories = ("/run/airlock", fleet.base / "state", "/var/lib/airlock-lab/docker")
        for path in (*directories, f"/proc/{worker}/fd", f"/proc/{inside}/root/airlock/env"):
            shown = as_agent("ls", f"{path}/.")
            assert "Permission denied" in shown.stderr, (path, shown)
        for pid in (worker, reaper(here), inside):
            assert as_agent("kill", "-KILL", str(pid)).returncode != 0
        asked = as_agent("docker", "-H", f"unix://{OURS}", "ps")
        assert "permission denied" in asked.stderr
        assert set(as_agent("id", "-G").stdout.split()) == {str(users.GID)}
        open_gate(job)
        assert fleet.control.finished(job) == ("0", "", ""), job.log.decode()


def test_agent_cleans_up_and_nothing_of_jobs_is_in_its_directories(here: Host) -> None:
    before = set(Path("/var/tmp").glob("job-*"))
    with agent(here, "tidy") as running:
        assert done(here, running, "touch in-the-checkout").ending == ("0", "", "")
        for name in ("builds", "plugins"):
            files = [path for path in (here.base / "tidy" / name).rglob("*") if path.is_file()]
            assert files == []
        assert set(Path("/var/tmp").glob("job-*")) <= before


def hook(here: Host, name: str, file: str, text: str, mode: int = 0o755) -> Path:
    directory = here.base / name / "hooks"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / file).write_text(f"#!/bin/sh\n{text}\n")
    (directory / file).chmod(mode)
    return directory


def test_hook_of_the_agent_decides_once_for_the_job(here: Host) -> None:
    """In a hooks-path of mode 0750 (unit.give), which only the agent reads."""
    script = f"exec {here.agent.bootstrap_script} admit"
    directory = hook(here, "hooked", "pre-bootstrap", script)
    with agent(here, "hooked") as running:
        assert directory.stat().st_mode & 0o777 == 0o750
        job = enqueued(here, running, "echo in the sandbox")
        assert here.fleet.control.finished(job) == ("0", "", ""), job.log.decode()
    events = [one["event"] for one in here.fleet.events(job.id)]
    assert events.count("admitted") == 1
    assert "verdict" in events


@pytest.fixture(scope="module")
def inside(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host whose agents' hooks run in sandboxes."""
    with host(lab, SERVICE, tmp_path_factory.mktemp("inside"), settings="hooks = true") as made:
        yield made


def test_hooks_that_jobs_cannot_read_end_the_job_and_open_ones_run(inside: Host) -> None:
    directory = hook(inside, "inside", "pre-command", "echo the hook ran as $(id -u)")
    with agent(inside, "inside") as running:
        refused = done(inside, running, "true")
        assert refused.ending[0] == "78"
        assert b"which jobs cannot use: its mode is 0750" in refused.log
        directory.chmod(0o755)
        result = done(inside, running, "true")
    assert result.ending == ("0", "", ""), result.log.decode()
    shown = re.search(rb"the hook ran as (\d+)", result.log)
    assert shown is not None
    assert int(shown[1]) in load(inside.fleet.config).sandbox.uids


def test_agents_user_cannot_have_the_service_read_a_file_of_root(here: Host) -> None:
    """The same request with a file of its own is read, and fails for lack of the rest."""
    program = here.agent.bootstrap_script.split()
    job = "0190-a-job-of-nobody"
    results = {}
    for owner in (users.UID, 0):
        path = here.base / f"job-env-{job}{owner}"
        path.write_text('TOP_SECRET="of root"\n')
        path.chmod(0o600)
        os.chown(path, owner, owner)
        env = {"BUILDKITE_ENV_FILE": str(path), "BUILDKITE_JOB_ID": job, "PATH": "/usr/bin"}
        done = subprocess.run(
            [*unit.command(), *program], capture_output=True, text=True, check=False, env=env
        )
        results[owner] = done.stdout
        assert done.returncode == 77, done
        assert "of root" not in done.stdout + done.stderr
    assert "belongs to uid 0 with mode 0600" in results[0]
    assert "belongs to uid" not in results[users.UID]


def forged(here: Host, command: str) -> "tuple[int, list[str]]":
    """Have the agent's user claim a job of its own making; return the status and the events."""
    env = here.fleet.env("true")
    path = here.base / f"job-env-json-{env['BUILDKITE_JOB_ID']}1"
    path.write_text(json.dumps(env))
    path.chmod(0o600)
    unit.give(path, mode=0o600)
    own = {
        "BUILDKITE_ENV_JSON_FILE": str(path), "BUILDKITE_AGENT_ACCESS_TOKEN": "bkaj_of-no-job",
        "BUILDKITE_AGENT_ENDPOINT": here.fleet.control.url, "PATH": "/usr/bin:/bin",
        "BUILDKITE_BUILD_PATH": "/builds", "BUILDKITE_PLUGINS_PATH": "/plugins",
    }  # fmt: skip
    done = subprocess.run(
        [*unit.command(), *here.agent.bootstrap_script.split(), command],
        capture_output=True, text=True, check=False, env=own,
    )  # fmt: skip
    return done.returncode, [one["event"] for one in here.fleet.events(env["BUILDKITE_JOB_ID"])]


def test_agents_user_can_claim_any_job_unless_claims_are_signed(here: Host) -> None:
    """The limit is in docs/service.md#who-may-use-it."""
    assert forged(here, "admit") == (0, ["admitted"])
    text, url = here.fleet.config.read_text(), here.fleet.control.url
    signed = f'[policy]\nidentity = "signed"\nissuer = "{url}"'
    here.fleet.config.write_text(text.replace("[policy]", signed))
    try:
        status, events = forged(here, "bootstrap")
    finally:
        here.fleet.config.write_text(text)
    assert status == 125
    assert "admitted" not in events
    assert "failed" in events


def test_another_user_cannot_use_the_socket(here: Host) -> None:
    program, *arguments = here.agent.bootstrap_script.split()
    command = [f"--reuid={users.UID + 1}", f"--regid={users.UID + 1}", "--clear-groups", program]
    refused = subprocess.run(
        ["setpriv", *command, *arguments], capture_output=True, text=True, check=False, env={}
    )
    assert refused.returncode == 78
    assert "may not use the service's socket" in refused.stderr
