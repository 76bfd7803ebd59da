"""A build may claim any branch: its commit is looked up in the repository itself."""

from pathlib import Path

import pytest

from tests.fakes.git import git
from tests.fakes.simulator import problem
from tests.lab.lab import ROLE, Fleet
from tests.lab.leftovers import leftovers

pytestmark = pytest.mark.lab


def rules(condition: str) -> str:
    return (
        f"  - name: verified\n    when: {{branch: main, commit-on-branch: {condition}}}\n"
        f"    allow: {{role: '{ROLE}'}}\n"
    )


def commits(fleet: Fleet) -> tuple[str, str]:
    """Put a second commit on main and one on another branch; return first and the other's."""
    work = fleet.base / "git/storefront.work"
    bare = str(fleet.base / "git/storefront.git")
    first = git(work, "rev-parse", "HEAD").strip()
    git(work, "commit", "-q", "--allow-empty", "-m", "second")
    git(work, "push", "-q", bare, "HEAD:main")
    git(work, "checkout", "-q", "-b", "feature")
    git(work, "commit", "-q", "--allow-empty", "-m", "evil")
    git(work, "push", "-q", bare, "HEAD:feature")
    return first, git(work, "rev-parse", "HEAD").strip()


def ends(fleet: Fleet, commit: str, **env: str) -> tuple[str, bytes]:
    job = fleet.control.enqueue(fleet.env("echo I ran", BUILDKITE_COMMIT=commit, **env))
    return fleet.control.finished(job, 120)[0], job.log


def test_commit_outside_claimed_branch_is_refused(fleet: Fleet) -> None:
    fleet.policy(rules("verified"))
    on_main, elsewhere = commits(fleet)
    with fleet.agent():
        status, log = ends(fleet, on_main)
        assert status == "0", log.decode()
        status, log = ends(fleet, elsewhere)
        assert status == "77", log.decode()
        assert b"commit-on-branch verified and got elsewhere" in log
        status, log = ends(fleet, "0" * 40)
        assert status == "77"
    assert len(fleet.sts.asked) == 1
    assert leftovers(fleet) == []
    kinds = git(cache(fleet), "-c", "safe.directory=*", "cat-file", "--batch-all-objects",
                "--batch-check=%(objecttype)")  # fmt: skip
    assert "blob" not in kinds


def cache(fleet: Fleet) -> Path:
    (path,) = (fleet.base / "state/ancestry").glob("*/history")
    return path


def test_commit_without_condition_is_not_verified(fleet: Fleet) -> None:
    fleet.policy(f"  - {{name: claimed, when: {{branch: main}}, allow: {{role: '{ROLE}'}}}}\n")
    _, elsewhere = commits(fleet)
    with fleet.agent():
        assert ends(fleet, elsewhere)[0] == "0"
    assert len(fleet.sts.asked) == 1


@pytest.mark.parametrize(
    ("condition", "status"), [("verified", "77"), ("verified-or-unknown", "0")]
)
def test_unverifiable_commit_is_refused_unless_rule_tolerates_it(
    fleet: Fleet, condition: str, status: str
) -> None:
    fleet.policy(rules(condition))
    first, _ = commits(fleet)
    fleet.git.fail("GET */info/refs", problem(503, "away"), times=1)
    with fleet.agent():
        got, log = ends(fleet, first)
        assert got == status, log.decode()
    assert b"could not be fetched" in log


@pytest.mark.parametrize("commit", ["HEAD", "main", "--all", "refs/heads/main"])
def test_malformed_commit_is_refused_without_fetch(fleet: Fleet, commit: str) -> None:
    fleet.policy(rules("verified"))
    with fleet.agent():
        assert ends(fleet, commit)[0] == "77"
    assert fleet.git.calls == []


def test_commit_of_refused_job_is_not_fetched(fleet: Fleet) -> None:
    fleet.policy(rules("verified"))
    with fleet.agent():
        assert ends(fleet, "0" * 40, BUILDKITE_BRANCH="feature")[0] == "77"
    assert fleet.git.calls == []
    assert not Path(fleet.base / "state/ancestry").exists()
