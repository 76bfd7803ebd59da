"""Service containers beside whole jobs: PostgreSQL and Redis, with the real agent."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.control_plane import Job, JobOrder
from tests.lab.lab import Lab
from tests.lab.leftovers import leftovers
from tests.lab.service_images import service_images
from tests.lab.ways import ALONE, REMAPPED, SERVICE, Host, Way, host

pytestmark = pytest.mark.lab

PASSWORD = "of the test alone"
QUERY = """python3 - <<'PY'
import socket, struct
def message(kind, body): return kind + struct.pack("!i", len(body) + 4) + body
pg = socket.create_connection(("postgres", 5432), 5)
start = struct.pack("!i", 196608) + b"user\\0postgres\\0database\\0postgres\\0\\0"
pg.sendall(struct.pack("!i", len(start) + 4) + start)
print("postgres asks for", pg.recv(1).decode(), pg.recv(500)[8:21].decode())
redis = socket.create_connection(("redis", 6379), 5)
redis.sendall(b"SET colour blue\\r\\nGET colour\\r\\n")
answer = b""
while answer.count(b"\\r\\n") < 3: answer += redis.recv(100)
print("redis has", answer.split(b"\\r\\n")[2].decode())
PY
"""


def rules(images: dict[str, str]) -> str:
    return f"""  - name: with services
    when: {{step: services}}
    allow:
      services:
        postgres:
          image: {images["postgres"]}
          env: {{POSTGRES_PASSWORD: {PASSWORD}}}
          tmpfs: /var/run/postgresql
          ready: tcp:5432
        redis:
          image: {images["redis"]}
          command: redis-server --save "" --protected-mode no
          ready: log:Ready to accept connections
          limits: {{memory: 64MiB}}
  - name: with one that fails
    when: {{step: fails}}
    allow:
      services:
        postgres: {{image: {images["postgres"]}, ready: tcp:5432}}
  - name: with one that is late
    when: {{step: late}}
    allow:
      services:
        db: {{image: {images["redis"]}, command: [sleep, "600"], ready: tcp:5432, ready-within: 1s}}
  - name: with one that is never ready
    when: {{step: never}}
    allow:
      services: {{db: {{image: {images["redis"]}, command: [sleep, "600"], ready: log:never}}}}
  - name: with one that prints without end
    when: {{step: prints}}
    allow:
      services: {{db: {{image: {images["redis"]}, command: [sh, -c, "exec yes"]}}}}
  - {{name: tests, allow: {{}}}}
"""


@pytest.fixture(
    scope="module",
    params=[pytest.param(ALONE, id="alone"), pytest.param(SERVICE, id="service")],
)
def here(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Host]:
    way: Way = request.param
    with host(lab, way, tmp_path_factory.mktemp("services")) as made:
        made.fleet.policy(rules(service_images(lab.docker)))
        with made.working():
            yield made


def event(here: Host, job: Job, name: str) -> dict[str, Any]:
    services: dict[str, Any] = here.fleet.event(job.id, name)["services"]
    return services


def test_a_job_uses_its_services(here: Host) -> None:
    work = f"{QUERY}\ncp /airlock/services/*.log . && ls *.log"
    env = {"BUILDKITE_STEP_KEY": "services", "BUILDKITE_ARTIFACT_PATHS": "/airlock/services/*.log"}
    job, result = here.done(work, **env)
    log = job.log.decode()
    assert result.ending == ("0", "", ""), log
    assert "postgres asks for R SCRAM-SHA-256" in log
    assert "redis has blue" in log
    assert "service postgres: ready after" in log
    assert "Service postgres: the end of its log" in log
    assert "database system is ready to accept connections" in log
    assert {one["path"].rpartition("/")[2] for one in job.artifacts} == {
        "postgres.log", "redis.log",
    }  # fmt: skip
    assert set(event(here, job, "services")) == {"postgres", "redis"}
    endings = event(here, job, "services_ended")
    assert {name: one["early"] for name, one in endings.items()} == {
        "postgres": False, "redis": False,
    }  # fmt: skip


def test_a_service_that_fails_ends_the_job_before_it_begins(here: Host) -> None:
    job, result = here.done("echo begun", BUILDKITE_STEP_KEY="fails")
    log = job.log.decode()
    assert result.ending[0] != "0", log
    assert "the service postgres ended with exit status 1 before it was ready" in log
    assert "postgres: Error: Database is uninitialized" in log
    assert "\nbegun" not in log


def test_a_service_that_dies_is_named_and_changes_no_status(here: Host) -> None:
    kill = (
        'python3 -c \'import socket; s = socket.create_connection(("redis", 6379)); '
        's.sendall(b"SHUTDOWN NOSAVE\\r\\n"); s.recv(1)\'; sleep 1; exit 7'
    )
    job, result = here.done(kill, BUILDKITE_STEP_KEY="services")
    log = job.log.decode()
    assert result.ending[0] == "7", log
    assert "the service redis ended while the job ran, with exit status 0" in log
    assert event(here, job, "services_ended")["redis"]["early"] is True


def test_a_service_that_is_slowed_by_its_log_is_named(here: Host) -> None:
    job, result = here.done("sleep 6", BUILDKITE_STEP_KEY="prints")
    log = job.log.decode()
    assert result.ending[0] == "0", log
    assert "the service db was slowed for" in log
    assert event(here, job, "services_ended")["db"]["slowed"] > 1


def test_a_service_that_is_late_ends_the_job_before_it_begins(here: Host) -> None:
    job, result = here.done("echo begun", BUILDKITE_STEP_KEY="late")
    log = job.log.decode()
    assert result.ending[0] != "0", log
    assert "the service db is not ready (tcp:5432) after 1 s" in log
    assert "db printed nothing" in log
    assert "\nbegun" not in log


def test_a_job_is_cancelled_while_it_waits_for_its_services(here: Host) -> None:
    sent = here.fleet.env("echo begun", BUILDKITE_AGENT_NAME="agent-1", BUILDKITE_STEP_KEY="never")
    job = here.fleet.control.enqueue(JobOrder(env=sent, agent="agent-1"))
    here.fleet.control.wait(
        job, lambda one: b"waiting for services, 10 s: db (log:never)" in one.log
    )
    here.fleet.control.cancel(job)
    result = here.fleet.control.completed(job)
    assert result.ending[0] != "0", job.log.decode()
    assert b"\nbegun" not in job.log
    assert leftovers(here.fleet) == []


def test_where_docker_maps_users(lab: Lab, tmp_path: Path) -> None:
    """The Elastic CI Stack has userns-remap: services run as the job does, unmapped."""
    with host(lab, REMAPPED, tmp_path) as made:
        service = f"{{image: {made.fleet.lab.image}, command: [nc, -lk, '8000'], ready: tcp:8000}}"
        made.fleet.policy(f"  - {{name: all, allow: {{services: {{web: {service}}}}}}}\n")
        with made.working():
            job, result = made.done("nc -z web 8000 && echo reached")
    assert result.ending == ("0", "", ""), job.log.decode()
    assert b"\nreached" in job.log
