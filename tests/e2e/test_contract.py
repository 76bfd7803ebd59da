"""The agent's contract in the sandbox: the same cases as natively (tests/lab/test_fleet.py).

Here Airlock runs alone, as root. The other ways: test_contract_service.py, test_contract_units.py.
"""

from collections.abc import Iterator

import pytest

from tests.lab.contract import Case
from tests.lab.contract_cases import CASES
from tests.lab.lab import Lab
from tests.lab.leftovers import leftovers
from tests.lab.ways import ALONE, Sandboxed, sandboxed

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def here(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandboxed]:
    with sandboxed(lab, ALONE, tmp_path_factory.mktemp("sandboxed")) as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_job_in_sandbox_keeps_contract_and_leaves_nothing(here: Sandboxed, case: Case) -> None:
    case.verify(here.site.run(case))
    assert leftovers(here.host.fleet) == []
