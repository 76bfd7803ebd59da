"""The contract as the real agent keeps it by itself, with its own bootstrap and no Airlock.

What passes here is a fact about the agent and its protocol, and shows that the simulator is right.
"""

from collections.abc import Iterator

import pytest

from tests.lab.contract import REPOSITORY, Case, Site, site
from tests.lab.contract_cases import CASES
from tests.lab.fleet import RealAgent, native


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    base = tmp_path_factory.mktemp("native")
    with (
        native(base, REPOSITORY) as (control, origin),
        site(control, origin, base, RealAgent(name="native")) as made,
    ):
        yield made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_job_of_native_bootstrap_keeps_contract(here: Site, case: Case) -> None:
    case.verify(here.run(case))
