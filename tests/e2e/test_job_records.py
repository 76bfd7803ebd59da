"""The record of a real job is an input for a replay: what ran, in what, how it ended; no secret."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bootstrap.replay.inputs.read import read_input
from bootstrap.replay.model import InputOptions
from tests.fakes.control_plane import ControlPlane
from tests.fakes.control_plane.rest_api import API_TOKEN
from tests.fakes.simulator import Call, Reply, Simulator, loopback
from tests.faults.test_service_jobs import hook
from tests.lab.lab import Fleet
from tests.lab.service import serving
from tests.test_cli import airlock

pytestmark = pytest.mark.lab

SECRET = "Pl4nted-secret"


def saved(fleet: Fleet, job_id: str) -> Path:
    return fleet.base / f"state/records/{job_id}.0.json"


def image_of(fleet: Fleet, reference: str) -> dict[str, Any]:
    docker = ["docker", "-H", fleet.lab.docker, "image", "inspect", reference]
    shown = subprocess.run(docker, capture_output=True, check=True).stdout
    found: dict[str, Any] = json.loads(shown)[0]
    return found


def test_the_record_of_a_job_is_an_input(fleet: Fleet) -> None:
    with fleet.agent():
        command = f"echo {SECRET}; exit 3"
        job = fleet.control.enqueue(fleet.env(command, NPM_TOKEN=SECRET, PLAIN="plain"))
        assert fleet.control.finished(job)[0] == "3", job.log.decode()
    path = saved(fleet, job.id)
    assert SECRET not in path.read_text()
    found = read_input(str(path), {})
    assert {"BUILDKITE_COMMAND", "NPM_TOKEN"} <= set(found.unknown)
    assert found.env["PLAIN"] == "plain"
    assert found.ended is not None
    assert (found.ended.code, found.ended.whose, found.ended.how) == (3, "job", "exited")
    assert found.run is not None
    event = next(e for e in found.run.events if e["event"] == "sandbox")
    image = image_of(fleet, str(event["reference"]))
    assert found.run.image_id == image["Id"]
    assert event["digests"] == image["RepoDigests"]
    assert found.image in {event["reference"], *image["RepoDigests"]}
    builds = found.run.agent["BUILDKITE_BUILD_PATH"]
    assert found.run.spec["workdir"] == builds
    assert found.run.spec["mounts"][builds] == "rw"  # type: ignore[index]
    assert str(found.run.versions["engine"]).startswith("Docker/")
    assert found.run.versions["kernel"]
    assert found.run.timings["start"] > 0
    assert found.run.agent["BUILDKITE_SHELL"]


class _OnLoopback(Simulator):
    """The control plane at another address: a token is sent without encryption to no other host."""

    def __init__(self, control: ControlPlane) -> None:
        super().__init__(loopback())
        self._control = control

    def answer(self, call: Call) -> Reply:
        return self._control.answer(call)


def test_the_job_of_the_control_plane_is_the_one_that_ran(fleet: Fleet) -> None:
    """By its URL a developer gets what the host recorded, and the secrets beside."""
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env("true", NPM_TOKEN=SECRET))
        assert fleet.control.finished(job)[0] == "0", job.log.decode()
    names = (job.env[f"BUILDKITE_{n}"] for n in ("ORGANIZATION_SLUG", "PIPELINE_SLUG"))
    page = f"{'/'.join(names)}/builds/{job.env['BUILDKITE_BUILD_NUMBER']}#{job.id}"
    token = {"BUILDKITE_API_TOKEN": API_TOKEN}
    with _OnLoopback(fleet.control) as control:
        by_url = read_input(f"{control.url}/{page}", token, InputOptions(api_url=control.url))
    recorded = read_input(str(saved(fleet, job.id)), {})
    assert by_url.env["NPM_TOKEN"] == SECRET
    assert by_url.env.items() <= {**recorded.env, "NPM_TOKEN": SECRET}.items(), "agents add some"


def test_why_agrees_with_what_the_host_did(fleet: Fleet) -> None:
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env("true"))
        assert fleet.control.finished(job)[0] == "0", job.log.decode()
    path = str(saved(fleet, job.id))
    done = airlock("why", path, "--config", str(fleet.config))
    assert (done.returncode, "nothing changed" in done.stdout) == (0, True), done.stdout
    fleet.policy("  - {name: none, when: {branch: never}, allow: {}}\n")
    done = airlock("why", path, "--config", str(fleet.config))
    assert done.returncode == 77
    assert "outcome: admitted -> refused" in done.stdout
    done = airlock("record", "export", job.id, "--config", str(fleet.config))
    assert json.loads(done.stdout)["job"] == job.id


def test_a_job_that_the_hook_refuses_has_a_record_by_the_service(fleet: Fleet) -> None:
    fleet.policy("  - {name: main, when: {branch: other}, allow: {}}\n")
    with serving(fleet) as service:
        hook(fleet.base / "agent-1/hooks", service)
        with fleet.agent(bootstrap_script=service.bootstrap_script):
            job = fleet.control.enqueue(fleet.env("echo I ran", NPM_TOKEN=SECRET))
            assert fleet.control.finished(job)[2] == "agent_refused", job.log.decode()
    path = saved(fleet, job.id)
    assert path.stat().st_mode & 0o777 == 0o600
    found = read_input(str(path), {})
    assert found.unknown == ("NPM_TOKEN",)
    assert found.ended is not None
    assert (found.ended.code, found.ended.whose) == (77, "airlock")


def test_a_job_by_hook_and_service_has_both_events_and_its_end(fleet: Fleet) -> None:
    with serving(fleet) as service:
        hook(fleet.base / "agent-1/hooks", service)
        with fleet.agent(bootstrap_script=service.bootstrap_script):
            job = fleet.control.enqueue(fleet.env("exit 4"))
            assert fleet.control.finished(job)[0] == "4", job.log.decode()
    found = read_input(str(saved(fleet, job.id)), {})
    assert found.run is not None
    assert [event["event"] for event in found.run.events][:2] == ["admitted", "verdict"]
    assert found.run.decision["grant"]
    assert found.ended is not None
    assert found.ended.code == 4
