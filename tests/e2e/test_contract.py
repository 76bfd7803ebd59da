"""The agent's contract in the sealed room: the same cases as natively (tests/lab/test_fleet.py)."""

from collections.abc import Iterator

import pytest

from tests.fakes.git import publish
from tests.lab.contract import CASES, REPOSITORY, Case, Site, site
from tests.lab.fleet import Origin, RealAgent
from tests.lab.lab import Lab, fleet

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def here(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    base = tmp_path_factory.mktemp("sealed")
    with fleet(lab, base / "fleet") as made:
        commit = publish(made.base / "git", "contract", REPOSITORY)
        origin = Origin(url=f"{made.git.url}/contract.git", commit=commit)
        made.policy(
            "  - {name: all, when: {pull-request: any}, allow: {}}\n", repository=origin.url
        )
        agent = RealAgent(name="sealed", bootstrap_script=made.bootstrap_script)
        with site(made.control, origin, base / "agents", agent) as sealed:
            yield sealed


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_job_in_sandbox_keeps_contract_and_leaves_nothing(here: Site, case: Case) -> None:
    case.verify(here.run(case))
