"""The agent's contract in the sandbox: the same cases as natively (tests/lab/test_fleet.py)."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.fakes.git import publish
from tests.lab.contract import REPOSITORY, Case, Site, site
from tests.lab.contract_cases import CASES
from tests.lab.fleet import Origin, RealAgent
from tests.lab.lab import Fleet, Lab, fleet
from tests.lab.leftovers import leftovers

pytestmark = pytest.mark.lab


@dataclass(frozen=True, kw_only=True, slots=True)
class Sandboxed:
    """A site whose agents run Airlock, and its fleet."""

    fleet: Fleet
    site: Site


@pytest.fixture(scope="module")
def here(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandboxed]:
    base = tmp_path_factory.mktemp("sandboxed")
    with fleet(lab, base / "fleet") as made:
        commit = publish(made.base / "git", "contract", REPOSITORY)
        origin = Origin(url=f"{made.git.url}/contract.git", commit=commit)
        made.policy(
            "  - {name: all, when: {pull-request: any}, allow: {}}\n", repository=origin.url
        )
        agent = RealAgent(name="sandboxed", bootstrap_script=made.bootstrap_script)
        with site(made.control, origin, base / "agents", agent) as running:
            yield Sandboxed(fleet=made, site=running)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_job_in_sandbox_keeps_contract_and_leaves_nothing(here: Sandboxed, case: Case) -> None:
    case.verify(here.site.run(case))
    assert leftovers(here.fleet) == []
