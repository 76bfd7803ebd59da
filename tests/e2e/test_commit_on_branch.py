"""A build may claim any branch: its commit is looked up in the repository itself."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.git import PrivateGitServer, git, self_signed
from tests.fakes.simulator import problem
from tests.fakes.ssm import StrictSsm
from tests.lab import world
from tests.lab.lab import ROLE, Fleet
from tests.lab.leftovers import leftovers
from tests.lab.sshd import GitOverSsh, git_over_ssh

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
        assert b"expected commit-on-branch verified, got elsewhere" in log
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


@pytest.fixture
def ssm(fleet: Fleet) -> Iterator[StrictSsm]:
    with StrictSsm(world.listen(world.WORLD, 0)) as strict:
        text = fleet.config.read_text().replace("[aws]", f'[aws]\nssm-endpoint = "{strict.url}"')
        fleet.config.write_text(text)
        yield strict


@pytest.fixture
def private(fleet: Fleet, ssm: StrictSsm, tmp_path: Path) -> Iterator[PrivateGitServer]:
    """Serve the repository over https to who has a token; the image does not ask for an issuer."""
    trusting = f"{fleet.lab.image.partition(':')[0]}:trusting"
    docker = ("docker", "-H", fleet.lab.docker)
    made = subprocess.run([*docker, "create", fleet.lab.image, "true"],
                          check=True, capture_output=True, text=True).stdout.strip()  # fmt: skip
    change = ("--change", "ENV GIT_SSL_NO_VERIFY=true")
    subprocess.run([*docker, "commit", *change, made, trusting], check=True, capture_output=True)
    subprocess.run([*docker, "rm", made], check=True, capture_output=True)
    fleet.config.write_text(fleet.config.read_text().replace(fleet.lab.image, trusting))
    listener = world.listen(world.WORLD, 0)
    with PrivateGitServer(listener, fleet.base / "git", self_signed(tmp_path)) as server:
        ssm.put("/ci/git", server.password, kind="SecureString")
        yield server
    subprocess.run([*docker, "image", "rm", trusting], check=True, capture_output=True)


def private_rules(grants: str) -> str:
    condition = "{branch: main, commit-on-branch: verified}"
    return f"  - {{name: checked, when: {condition}, allow: {{{grants}}}}}\n"


def events(fleet: Fleet) -> list[str]:
    lines = map(json.loads, fleet.records.read_text().splitlines())
    return [f"{event['event']} {event.get('purpose', '')}".strip() for event in lines]


def test_a_private_repository_is_verified_with_the_rules_token(
    fleet: Fleet, private: PrivateGitServer
) -> None:
    url = f"{private.url}/storefront.git"
    fleet.policy(private_rules(f"git-tokens: {{'{url}': 'ssm:/ci/git'}}"), repository=url)
    on_main, elsewhere = commits(fleet)
    with fleet.agent():
        status, log = ends(fleet, on_main, BUILDKITE_REPO=url)
        assert status == "0", log.decode()
        assert b"\nI ran" in log
        assert private.password.encode() not in log
        status, log = ends(fleet, elsewhere, BUILDKITE_REPO=url)
        assert status == "77", log.decode()
        assert b"expected commit-on-branch verified, got elsewhere" in log
    assert events(fleet) == [
        "secrets commit-on-branch", "admitted", "secrets job", "sandbox", "ended",
        "secrets commit-on-branch", "denied", "failed",
    ]  # fmt: skip
    assert private.password not in fleet.records.read_text()
    kept = subprocess.run(["grep", "-r", private.password, str(fleet.base / "state")], check=False)
    assert kept.returncode == 1, "it is nowhere on disk"
    assert leftovers(fleet) == []


def test_without_a_token_a_private_repository_is_unknown(
    fleet: Fleet, private: PrivateGitServer
) -> None:
    url = f"{private.url}/storefront.git"
    fleet.policy(private_rules(""), repository=url)
    with fleet.agent():
        status, log = ends(fleet, fleet.commit, BUILDKITE_REPO=url)
    assert status == "77", log.decode()
    assert b"could not be fetched" in log
    assert b"expected commit-on-branch verified, got unknown" in log


def test_a_job_that_no_answer_would_admit_has_no_token_fetched(
    fleet: Fleet, private: PrivateGitServer, ssm: StrictSsm
) -> None:
    url = f"{private.url}/storefront.git"
    fleet.policy(private_rules(f"git-tokens: {{'{url}': 'ssm:/ci/git'}}"), repository=url)
    with fleet.agent():
        assert ends(fleet, fleet.commit, BUILDKITE_REPO=url, BUILDKITE_BRANCH="x")[0] == "77"
        assert ends(fleet, "HEAD", BUILDKITE_REPO=url)[0] == "77"
    assert (ssm.calls, private.calls) == ([], [])


@pytest.fixture
def ssh(fleet: Fleet, ssm: StrictSsm, tmp_path: Path) -> Iterator[GitOverSsh]:
    with git_over_ssh(tmp_path / "ssh") as server:
        ssm.put("/ci/key", server.private_key, kind="SecureString")
        yield server


def test_a_private_repository_is_verified_with_the_rules_key(fleet: Fleet, ssh: GitOverSsh) -> None:
    url = ssh.url(fleet.base / "git/storefront.git")
    grants = f"ssh-keys: 'ssm:/ci/key', known-hosts: '{ssh.known_host}'"
    fleet.policy(private_rules(grants), repository=url)
    with fleet.agent("--no-ssh-keyscan"):
        status, log = ends(fleet, fleet.commit, BUILDKITE_REPO=url)
        assert status == "0", log.decode()
        fleet.policy(private_rules(""), repository=url)
        status, log = ends(fleet, fleet.commit, BUILDKITE_REPO=url)
        assert status == "77", log.decode()
        assert b"got unknown" in log
    assert events(fleet)[:2] == ["secrets commit-on-branch", "admitted"]
    assert leftovers(fleet) == []
