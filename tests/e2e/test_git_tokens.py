"""Private repositories over https: git uses the rule's token for them, and for nothing else."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.git import PrivateGitServer, git, publish, self_signed
from tests.fakes.ssm import StrictSsm
from tests.lab import world
from tests.lab.lab import Fleet

pytestmark = pytest.mark.lab


@pytest.fixture
def private(fleet: Fleet, tmp_path: Path) -> Iterator[PrivateGitServer]:
    certificate = self_signed(tmp_path)
    with (
        PrivateGitServer(world.listen(world.WORLD, 0), fleet.base / "git", certificate) as server,
        StrictSsm(world.listen(world.WORLD, 0)) as ssm,
    ):
        ssm.put("/ci/git", server.password, kind="SecureString")
        text = fleet.config.read_text().replace("[aws]", f'[aws]\nssm-endpoint = "{ssm.url}"')
        fleet.config.write_text(text)
        yield server


def with_submodule(fleet: Fleet, url: str) -> str:
    """Publish acme/private with the submodule acme/library; return its commit."""
    root = fleet.base / "git"
    (root / "acme").mkdir()
    publish(root, "acme/library", {"library.txt": "of the submodule\n"})
    publish(root, "acme/private", {"README.md": "private\n"})
    work = root / "acme/private.work"
    git(work, "-c", "protocol.file.allow=always", "submodule", "add", "-q",
        str(root / "acme/library.git"), "library")  # fmt: skip
    git(work, "config", "-f", ".gitmodules", "submodule.library.url", f"{url}/acme/library.git")
    git(work, "commit", "-q", "-a", "-m", "with a submodule")
    git(work, "push", "-q", str(root / "acme/private.git"), "HEAD:main")
    return git(work, "rev-parse", "HEAD").strip()


def ends(fleet: Fleet, url: str, commit: str, command: str, **env: str) -> tuple[str, bytes]:
    more = {
        "BUILDKITE_REPO": f"{url}/acme/private.git",
        "BUILDKITE_COMMIT": commit,
        "GIT_SSL_NO_VERIFY": "true",
        "GIT_TERMINAL_PROMPT": "0",
    }
    with fleet.agent("--checkout-attempts", "1"):
        job = fleet.control.enqueue(fleet.env(command, **{**more, **env}))
        return fleet.control.finished(job, 120)[0], job.log


def policy(fleet: Fleet, url: str, below: str) -> None:
    fleet.policy(
        f"  - {{name: main, when: {{branch: main}}, "
        f"allow: {{git-tokens: {{'{url}/{below}': 'ssm:/ci/git'}}, env: GIT_SSL_NO_VERIFY}}}}\n"
        "  - {name: others, when: {branch: '*'}, allow: {}}\n",
        repository=f"{url}/acme/private.git",
    )


@pytest.fixture
def hardened(fleet: Fleet, tmp_path: Path) -> Iterator[Path]:
    """Let /run be mounted as on hardened hosts: Airlock mounts no tmpfs of its own there.

    An engine of 2020 drops noexec where it mounts the sandbox directory read-only; newer ones keep
    it. Nothing there is executable anyhow.
    """
    run = tmp_path / "run"
    run.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "noexec,nosuid,nodev,size=64m", "run", str(run)], check=True
    )
    text = fleet.config.read_text().replace("[paths]", f'[paths]\nruntime = "{run}/airlock"')
    fleet.config.write_text(text)
    yield run
    subprocess.run(["umount", str(run)], check=True)


def test_private_repository_is_cloned_on_host_whose_run_is_noexec(
    fleet: Fleet, private: PrivateGitServer, hardened: Path
) -> None:
    commit = with_submodule(fleet, private.url)
    policy(fleet, private.url, "acme/")
    shown = "cat README.md; test -x /airlock/git-credential || echo it cannot be executed"
    status, log = ends(fleet, private.url, commit, shown)
    assert status == "0", log.decode()
    assert b"private" in log
    assert b"it cannot be executed" in log


def test_private_repository_and_submodule_are_cloned_with_token(
    fleet: Fleet, private: PrivateGitServer
) -> None:
    commit = with_submodule(fleet, private.url)
    policy(fleet, private.url, "acme/")
    status, log = ends(fleet, private.url, commit, "cat README.md library/library.txt")
    assert status == "0", log.decode()
    assert b"\nprivate" in log
    assert b"\nof the submodule" in log
    assert private.password.encode() not in log
    assert private.password not in fleet.records.read_text()


def test_git_token_of_one_repository_does_not_fetch_submodule(
    fleet: Fleet, private: PrivateGitServer
) -> None:
    commit = with_submodule(fleet, private.url)
    policy(fleet, private.url, "acme/private.git")
    status, log = ends(fleet, private.url, commit, "echo I ran")
    assert status == "1", log.decode()
    assert f"could not read Username for '{private.url}/acme/library.git'".encode() in log
    assert b"\nI ran" not in log


def test_other_rule_gets_no_git_token(fleet: Fleet, private: PrivateGitServer) -> None:
    commit = with_submodule(fleet, private.url)
    policy(fleet, private.url, "acme/")
    status, log = ends(fleet, private.url, commit, "echo I ran", BUILDKITE_BRANCH="feature")
    assert status == "128", log.decode()
    assert b"could not read Username for" in log
    assert b"\nI ran" not in log
