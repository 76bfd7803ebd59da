"""Promises 1, 3 and 6 for the container that looks up a commit before the decision."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.test_commit_on_branch import cache, ends, rules
from tests.fakes.git import git
from tests.lab import world
from tests.lab.engine import eventually
from tests.lab.lab import DELETE_RULESET, ROLE, Fleet
from tests.lab.leftovers import leftovers

pytestmark = pytest.mark.lab


def refs(fleet: Fleet) -> list[str]:
    listed = git(cache(fleet), "-c", "safe.directory=*", "for-each-ref", "--format=%(refname)")
    return listed.split()


def test_commit_check_follows_deleted_and_rewritten_branches(fleet: Fleet) -> None:
    """`a`, then `a/b` in its place, then a forced push; and what a killed check left behind."""
    fleet.policy(
        f"  - name: verified\n    when: {{branch: '*', commit-on-branch: verified}}\n"
        f"    allow: {{role: '{ROLE}'}}\n"
    )
    work, bare = fleet.base / "git/storefront.work", str(fleet.base / "git/storefront.git")
    first = git(work, "rev-parse", "HEAD").strip()
    with fleet.agent():
        git(work, "push", "-q", bare, "HEAD:refs/heads/a")
        assert ends(fleet, first, BUILDKITE_BRANCH="a")[0] == "0"
        git(work, "push", "-q", bare, ":refs/heads/a", "HEAD:refs/heads/a/b")
        assert ends(fleet, first, BUILDKITE_BRANCH="a")[0] == "77", "the branch is deleted"
        for name in ("objects/pack/tmp_pack_x", "refs/airlock/claimed.lock", "config.lock"):
            (cache(fleet) / name).touch()
        assert ends(fleet, first, BUILDKITE_BRANCH="a/b")[0] == "0"
        git(work, "commit", "-q", "--amend", "--allow-empty", "-m", "rewritten")
        git(work, "push", "-q", "--force", bare, "HEAD:refs/heads/a/b")
        status, log = ends(fleet, first, BUILDKITE_BRANCH="a/b")
        assert status == "77", log.decode()
        assert b"got elsewhere" in log
    assert refs(fleet) == ["refs/airlock/claimed"]
    assert not (cache(fleet) / "objects/pack/tmp_pack_x").exists()


def test_commit_check_ignores_refs_named_like_branches(fleet: Fleet) -> None:
    """Git takes a tag, or a branch, named refs/heads/release/9 for a branch that is not there."""
    fleet.policy(
        f"  - name: verified\n    when: {{branch: 'release/*', commit-on-branch: verified}}\n"
        f"    allow: {{role: '{ROLE}'}}\n"
    )
    work, bare = fleet.base / "git/storefront.work", str(fleet.base / "git/storefront.git")
    git(work, "push", "-q", bare, "HEAD:refs/heads/release/7")
    git(work, "commit", "-q", "--allow-empty", "-m", "evil")
    evil = git(work, "rev-parse", "HEAD").strip()
    git(work, "push", "-q", bare, "HEAD:refs/tags/refs/heads/release/9")
    git(work, "push", "-q", bare, "HEAD:refs/heads/refs/heads/release/8")
    for branch in ("release/8", "release/9"):
        git(work, "fetch", "-q", bare, f"+refs/heads/{branch}:refs/taken")
        assert git(work, "rev-parse", "refs/taken").strip() == evil, "git fetches the other ref"
    with fleet.agent():
        assert ends(fleet, fleet.commit, BUILDKITE_BRANCH="release/7")[0] == "0"
        for branch in ("release/8", "release/9"):
            status, log = ends(fleet, evil, BUILDKITE_BRANCH=branch)
            assert status == "77", log.decode()
            assert f"the repository has no branch {branch}".encode() in log


def test_commit_check_is_skipped_when_guardrails_refuse(fleet: Fleet) -> None:
    """The rule's grant exceeds the guardrails; within them, the same job's commit is looked up."""
    fleet.policy(rules("verified"))
    rails = fleet.base / "policies/guardrails.yaml"
    setting = f'[policy]\nguardrails = "file:{rails}"'
    fleet.config.write_text(fleet.config.read_text().replace("[policy]", setting))
    rails.write_text("guardrails: acme\naccounts: []\n")
    with fleet.agent():
        assert ends(fleet, fleet.commit)[0] == "77"
        assert fleet.git.calls == []
        assert not (fleet.base / "state/ancestry").exists()
        rails.write_text("guardrails: acme\naccounts: ['111122223333']\n")
        status, log = ends(fleet, fleet.commit)
        assert status == "0", log.decode()
    assert fleet.git.calls != []


@contextmanager
def silent(fleet: Fleet) -> Iterator[str]:
    """A repository whose server accepts connections and never answers."""
    with world.listen(world.WORLD, 0) as listener:
        url = f"http://{world.WORLD}:{listener.getsockname()[1]}/storefront.git"
        fleet.policy(rules("verified"), repository=url)
        yield url


def test_commit_check_is_stopped_when_ruleset_is_removed(fleet: Fleet) -> None:
    with silent(fleet) as url, fleet.agent():
        job = fleet.control.enqueue(fleet.env("echo I ran", BUILDKITE_REPO=url))
        eventually(lambda: fetching(url), "the check is fetching")
        subprocess.run(DELETE_RULESET, check=True)
        assert fleet.control.finished(job, 20) == ("-1", "", "process_run_error"), job.log.decode()
    assert b"the check of the commit was stopped: table inet airlock was changed" in job.log
    assert leftovers(fleet) == []


def fetching(url: str) -> bool:
    """Return whether a git process is fetching from this URL."""
    lines = (path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())
    remote = b"/usr/lib/git-core/git-remote-http\0"
    return any(line.startswith(remote) and url.encode() in line for line in lines)


def test_commit_check_without_isolation_fetches_nothing(fleet: Fleet) -> None:
    """A foreign rule that applies before ours: the proof fails and nothing is fetched."""
    fleet.policy(rules("verified"))
    with fleet.agent():
        assert ends(fleet, fleet.commit)[0] == "0"
        asked = len(fleet.git.calls)
        foreign = (
            "add table ip intruder; "
            "add chain ip intruder c1 { type filter hook prerouting priority -400; }; "
            "add rule ip intruder c1 ip daddr 169.254.169.254 ip daddr set 10.77.0.2"
        )
        subprocess.run(["nft", foreign], check=True)
        try:
            status, log = ends(fleet, fleet.commit)
        finally:
            subprocess.run(["nft", "delete", "table", "ip", "intruder"], check=True)
    assert status == "-1", log.decode()
    assert b"the container is not isolated" in log
    assert len(fleet.git.calls) == asked
