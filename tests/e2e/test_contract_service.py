"""The contract with the service, and agents as buildkite-agent under the conditions of a unit.

Also where Docker maps the users of containers (userns-remap).
"""

from collections.abc import Iterator

import pytest

from tests.lab.contract import Case
from tests.lab.contract_cases import CASES
from tests.lab.lab import Lab
from tests.lab.leftovers import leftovers
from tests.lab.ways import REMAPPED, SERVICE, Sandboxed, Way, sandboxed

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module", params=[SERVICE, REMAPPED], ids=lambda way: way.name)
def here(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Sandboxed]:
    way: Way = request.param
    with sandboxed(lab, way, tmp_path_factory.mktemp(way.name)) as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_job_of_an_agent_that_is_not_root_keeps_contract_and_leaves_nothing(
    here: Sandboxed, case: Case
) -> None:
    case.verify(here.site.run(case))
    assert leftovers(here.host.fleet) == []
