"""The whole contract with the agent and the service as units of systemd itself.

    tests/lab/with_systemd .venv/bin/pytest tests/e2e/test_contract_units.py

The agents' units have what the Elastic CI Stack's has: User=, KillMode=process, TimeoutStopSec=0.
"""

from collections.abc import Iterator

import pytest

from tests.lab.contract import Case
from tests.lab.contract_cases import CASES
from tests.lab.lab import Lab
from tests.lab.leftovers import leftovers
from tests.lab.systemd import UNITS as DIRECTORY
from tests.lab.ways import UNITS, UNITS_REMAPPED, Sandboxed, Way, sandboxed

pytestmark = [
    pytest.mark.lab,
    pytest.mark.systemd,
    pytest.mark.skipif(not DIRECTORY.is_dir(), reason="needs tests/lab/with_systemd"),
]


@pytest.fixture(scope="module", params=[UNITS, UNITS_REMAPPED], ids=lambda way: way.name)
def here(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Sandboxed]:
    way: Way = request.param
    with sandboxed(lab, way, tmp_path_factory.mktemp(way.name)) as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_job_of_an_agent_that_is_a_unit_keeps_contract_and_leaves_nothing(
    here: Sandboxed, case: Case
) -> None:
    case.verify(here.site.run(case))
    assert leftovers(here.host.fleet) == []
