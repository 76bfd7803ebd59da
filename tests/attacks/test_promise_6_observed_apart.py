"""Promise 6 where no rule separates jobs: observe mode keeps branches and forks apart."""

from collections.abc import Iterator

import pytest

from tests.attacks.test_promise_6_nothing_inherited import LEAVE, LOOK, runs, seen
from tests.lab.lab import ROLE, Fleet, Lab, fleet

pytestmark = pytest.mark.lab

FORK = {
    "BUILDKITE_PULL_REQUEST": "7",
    "BUILDKITE_PULL_REQUEST_REPO": "https://github.com/mallory/storefront.git",
    "BUILDKITE_BRANCH": "mallory:main",
}

# Neither "false" nor a number. The agent fetches a pull request's head from GitHub only.
UNKNOWN = {"BUILDKITE_PULL_REQUEST": "", "BUILDKITE_PIPELINE_PROVIDER": "git"}


@pytest.fixture
def observed(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet without a policy: every job is refused, and no refusal is enforced."""
    settings = f'mode = "observe"\nobserve-role = "{ROLE}"'
    with fleet(lab, tmp_path_factory.mktemp("observed") / "fleet", policy=settings) as made:
        (made.base / "policies/storefront.yaml").unlink()
        yield made


def own_request(made: Fleet) -> dict[str, str]:
    return {**FORK, "BUILDKITE_PULL_REQUEST_REPO": made.repository, "BUILDKITE_BRANCH": "feature"}


def test_observed_fork_and_branch_have_separate_workspaces(observed: Fleet) -> None:
    runs(observed, LEAVE, **FORK)
    assert seen(runs(observed, LOOK)) == []
    runs(observed, LEAVE)
    assert seen(runs(observed, LOOK, **FORK)) == []
    assert seen(runs(observed, LOOK, **{**FORK, "BUILDKITE_BRANCH": "main"})) == []
    assert not list((observed.base / "state/fresh").glob("*"))


@pytest.mark.parametrize(
    "other",
    [{"BUILDKITE_BRANCH": "feature"}, {"BUILDKITE_TAG": "main"}, UNKNOWN],
    ids=["another-branch", "a-tag-of-that-name", "unknown"],
)
def test_observed_branches_and_tags_have_separate_workspaces(
    observed: Fleet, other: dict[str, str]
) -> None:
    runs(observed, LEAVE, **other)
    assert seen(runs(observed, LOOK)) == []


def test_observed_branch_reuses_its_own_checkout(observed: Fleet) -> None:
    """A branch keeps its checkout; it also shows that LOOK finds what LEAVE has left."""
    runs(observed, LEAVE)
    assert "seen: $BUILDKITE_BUILD_PATH/left" in seen(runs(observed, LOOK))


def test_observed_pull_request_gets_no_observe_role(observed: Fleet) -> None:
    command = (
        "test -z \"$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI\" || echo 'seen: credentials'; "
        "echo done looking"
    )
    assert seen(runs(observed, command, **FORK)) == []
    assert seen(runs(observed, command, **own_request(observed))) == []
    assert seen(runs(observed, command, **UNKNOWN)) == []
    assert observed.sts.asked == []
    assert seen(runs(observed, command)) == ["seen: credentials"]
    assert [asked.role for asked in observed.sts.asked] == [ROLE]
