"""Endings of jobs with the agent's next generation (v4), where the machine has one.

It passes its deadlines in other variables and writes bare names into its environment file, which
tests/job tests without it. Here all endings are run with the real one.
"""

import os
from collections.abc import Iterator

import pytest

from tests.fakes.git import publish
from tests.lab.contract import REPOSITORY, Case, Site, site
from tests.lab.contract_endings import CANCELS, ENDINGS
from tests.lab.fleet import Origin, RealAgent
from tests.lab.lab import Lab, fleet

V4 = os.environ.get("BUILDKITE_AGENT_V4")
pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not V4, reason="no v4 agent: set BUILDKITE_AGENT_V4"),
]


@pytest.fixture(scope="module")
def here(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    base = tmp_path_factory.mktemp("v4")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("BUILDKITE_AGENT", str(V4))
        with fleet(lab, base / "fleet") as made:
            commit = publish(made.base / "git", "contract", REPOSITORY)
            origin = Origin(url=f"{made.git.url}/contract.git", commit=commit)
            made.policy("  - {name: all, allow: {}}\n", repository=origin.url)
            agent = RealAgent(name="v4", bootstrap_script=made.bootstrap_script)
            with site(made.control, origin, base / "agents", agent) as running:
                yield running


@pytest.mark.parametrize("case", [*ENDINGS, *CANCELS], ids=lambda case: case.name.replace(" ", "-"))
def test_job_of_v4_agent_in_sandbox_keeps_contract(here: Site, case: Case) -> None:
    case.verify(here.run(case))
