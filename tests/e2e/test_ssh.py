"""Private repositories over ssh: the sandbox uses the key and does not contain it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.git import git, publish
from tests.fakes.ssm import StrictSsm
from tests.lab import world
from tests.lab.lab import Fleet
from tests.lab.leftovers import leftovers
from tests.lab.sshd import GitOverSsh, git_over_ssh

pytestmark = pytest.mark.lab

# Every file that a job can read, and every environment and command line.
SEARCH = """
    find / -xdev -type f -readable -size -16M 2>/dev/null | xargs -r grep -laF "$NEEDLE" || true
    find /airlock /tmp /home /run /dev/shm $BUILDKITE_BUILD_PATH $BUILDKITE_PLUGINS_PATH \
      -type f -readable 2>/dev/null | xargs -r grep -laF "$NEEDLE" || true
    for file in /proc/[0-9]*/environ /proc/[0-9]*/cmdline; do
      grep -laF "$NEEDLE" $file 2>/dev/null || true
    done
    echo searched
"""


@pytest.fixture
def ssh(fleet: Fleet, tmp_path: Path) -> Iterator[GitOverSsh]:
    with (
        git_over_ssh(tmp_path / "ssh") as server,
        StrictSsm(world.listen(world.WORLD, 0)) as ssm,
    ):
        ssm.put("/storefront/deploy-key", server.private_key, kind="SecureString")
        ssm.put("/storefront/broken-key", "no key at all", kind="SecureString")
        text = fleet.config.read_text().replace("[aws]", f'[aws]\nssm-endpoint = "{ssm.url}"')
        fleet.config.write_text(text)
        yield server


def private(fleet: Fleet, ssh: GitOverSsh) -> tuple[str, str]:
    """Publish a repository with a private submodule; return its URL and commit."""
    root = fleet.base / "git"
    publish(root, "library", {"library.txt": "of the submodule\n"})
    publish(root, "private", {"README.md": "private\n"})
    work = root / "private.work"
    git(work, "-c", "protocol.file.allow=always", "submodule", "add", "-q",
        str(root / "library.git"), "library")  # fmt: skip
    git(work, "config", "-f", ".gitmodules", "submodule.library.url", ssh.url(root / "library.git"))
    git(work, "commit", "-q", "-a", "-m", "with a submodule")
    git(work, "push", "-q", str(root / "private.git"), "HEAD:main")
    return ssh.url(root / "private.git"), git(work, "rev-parse", "HEAD").strip()


def policy(fleet: Fleet, ssh: GitOverSsh, url: str, *, key: str = "deploy-key",
           pinned: str | None = None) -> None:  # fmt: skip
    host = ssh.known_host if pinned is None else pinned
    fleet.policy(
        f"  - name: main\n    when: {{branch: main}}\n    allow:\n"
        f"      ssh-keys: 'ssm:/storefront/{key}'\n      known-hosts: '{host}'\n"
        "  - {name: others, when: {branch: '*'}, allow: {}}\n",
        repository=url,
    )


def run(fleet: Fleet, command: str, url: str, commit: str, **env: str) -> tuple[str, bytes]:
    with fleet.agent("--no-ssh-keyscan", "--checkout-attempts", "1"):
        job = fleet.control.enqueue(
            fleet.env(command, BUILDKITE_REPO=url, BUILDKITE_COMMIT=commit, **env)
        )
        return fleet.control.finished(job, 120)[0], job.log


def test_private_repository_and_submodule_are_cloned_and_key_is_not_readable(
    fleet: Fleet, ssh: GitOverSsh
) -> None:
    url, commit = private(fleet, ssh)
    policy(fleet, ssh, url)
    needle = ssh.private_key.splitlines()[2][:40]
    halves = f'NEEDLE="{needle[:20]}""{needle[20:]}"'  # else the command itself would be found
    command = f"set -e\ncat README.md library/library.txt\nssh-add -L\n{halves}\n{SEARCH}"
    status, log = run(fleet, command, url, commit)
    assert status == "0", log.decode()
    assert b"\nprivate" in log
    assert b"\nof the submodule" in log
    assert ssh.public_key.encode() in log
    found = log.partition(b"ssh-add")[2].partition(b"searched")[0]
    paths = [line for line in found.splitlines() if line.startswith(b"/")]
    assert paths == []
    records = fleet.records.read_text()
    assert needle not in records
    assert '"reference": "ssm:/storefront/deploy-key"' in records
    assert leftovers(fleet) == []


def test_search_finds_planted_key(fleet: Fleet, ssh: GitOverSsh) -> None:
    needle = ssh.private_key.splitlines()[2][:40]
    command = f'echo {needle} > /tmp/key; NEEDLE="{needle[:20]}""{needle[20:]}"\n{SEARCH}'
    fleet.policy("  - {name: all, allow: {}}\n")
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env(command))
        assert fleet.control.finished(job, 120) == ("0", "", "")
    assert b"\n/tmp/key" in job.log


def test_other_rule_gets_no_agent_socket_and_no_repository(fleet: Fleet, ssh: GitOverSsh) -> None:
    url, commit = private(fleet, ssh)
    policy(fleet, ssh, url)
    known = {"GIT_SSH_COMMAND": "ssh -o StrictHostKeyChecking=no -o BatchMode=yes"}
    status, log = run(fleet, "echo I ran", url, commit, BUILDKITE_BRANCH="feature", **known)
    assert status != "0"
    assert b"Permission denied (publickey" in log
    assert b"\nI ran" not in log
    skipped = {"BUILDKITE_BRANCH": "feature", "BUILDKITE_SKIP_CHECKOUT": "true"}
    look = 'ls -A /airlock/ssh; test -z "$SSH_AUTH_SOCK" && echo no socket'
    status, log = run(fleet, look, url, commit, **skipped)
    assert status == "0", log.decode()
    assert b"\nno socket" in log


def test_unpinned_host_is_not_trusted(fleet: Fleet, ssh: GitOverSsh) -> None:
    url, commit = private(fleet, ssh)
    policy(fleet, ssh, url, pinned=ssh.known_host.replace("10.77.0.2", "10.77.0.3"))
    status, log = run(fleet, "echo I ran", url, commit)
    assert status != "0"
    assert b"Host key verification failed" in log


def test_malformed_ssh_key_starts_nothing(fleet: Fleet, ssh: GitOverSsh) -> None:
    url, commit = private(fleet, ssh)
    policy(fleet, ssh, url, key="broken-key")
    status, log = run(fleet, "echo I ran", url, commit)
    assert status == "78"
    assert b"the ssh key ssm:/storefront/broken-key cannot be used" in log
    assert b"no key at all" not in log
    assert leftovers(fleet) == []
