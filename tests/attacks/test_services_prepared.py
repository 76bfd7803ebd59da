"""Service containers of a job whose network was prepared ahead: promises 3 and 7 hold for them."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.sandbox.network.addresses import namespace
from tests.attacks import test_services as services
from tests.attacks.attacker import Attacker, Unprotected, attacker, unprotected_container
from tests.attacks.in_prepared_networks import Served, holder_of, served
from tests.attacks.test_services import SERVE, Service, service_of
from tests.lab.engine import ended, eventually
from tests.lab.lab import Lab
from tests.lab.leftovers import leftovers

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def made(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(lab, tmp_path_factory.mktemp("services") / "fleet") as fleet:
        web = f"{{image: '{lab.image}', command: {SERVE}, ready: http:8000}}"
        fleet.policy(f"  - name: all\n    allow:\n      services: {{web: {web}}}\n")
        yield fleet


@pytest.fixture(scope="module")
def job(made: Served) -> Iterator[Attacker]:
    with attacker(made) as attacking:
        yield attacking


@pytest.fixture(scope="module")
def service(job: Attacker) -> Service:
    return service_of(job)


@pytest.fixture(scope="module")
def unprotected(made: Served, job: Attacker) -> Iterator[Unprotected]:
    with unprotected_container(made) as without:
        yield without


def test_a_service_is_in_the_network_that_the_job_has_joined(
    job: Attacker, service: Service
) -> None:
    assert holder_of(job).is_dir()
    assert namespace(service.pid) == namespace(job.pid)
    fetch = "curl -s -m 3 -o /dev/null -w '%{http_code}' http://web:8000/"
    assert job.tries(fetch).stdout == "200"


test_metadata = services.test_the_metadata_endpoint_is_as_far_as_for_a_job


def test_a_neighbours_job_reaches_no_service(made: Served, job: Attacker) -> None:
    fetch = "curl -s -m 3 -o /dev/null -w '%{http_code}' http://"
    assert job.tries(f"{fetch}{job.address}:8000/").stdout == "200"
    with attacker(made) as neighbour:
        assert neighbour.tries(f"{fetch}{neighbour.address}:8000/").stdout == "200"
        assert neighbour.tries(f"{fetch}{job.address}:8000/").stdout == "000"


def test_the_end_of_the_holder_ends_services_too(made: Served) -> None:
    """The engine takes the network away then, and gives its address to another container."""
    with attacker(made) as one:
        service = service_of(one).pid
        fact = json.loads((holder_of(one) / "process").read_text())
        os.kill(fact["pid"], signal.SIGKILL)
        eventually(lambda: ended(service), "the service is killed", 10)
        made.control.finished(one.job)
    assert not [path for path in leftovers(made) if one.job.id in path]
    assert not list(Path("/run/airlock/jobs").glob(f"{one.job.id}-*"))
