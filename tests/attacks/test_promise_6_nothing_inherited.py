"""Promise 6: what one trust level leaves behind is never seen by another."""

import pytest

from tests.fakes.control_plane import Job
from tests.lab.lab import Fleet

pytestmark = pytest.mark.lab

POLICY = """  - name: release
    when: {branch: main}
    allow: {}
  - name: fresh
    when: {branch: "fresh/*"}
    allow: {workspace: fresh}
  - name: everything else
    when: {branch: "*"}
    allow: {}
"""

SHARED = (
    "$BUILDKITE_BUILD_PATH/left",
    "$BUILDKITE_PLUGINS_PATH/left",
    "$BUILDKITE_GIT_MIRRORS_PATH/left",
    "$PWD/left",
    ".git/left",
)
LOST = ("$HOME/left", "/tmp/left", "/dev/shm/left", "/run/buildkite/left")

# A poisoned checkout, a link out of it, files everywhere, and a background process.
LEAVE = "\n".join(
    [
        *(f"echo left > {path}" for path in (*SHARED, *LOST)),
        "echo 'echo the hook of another' > .git/hooks/post-checkout",
        "chmod +x .git/hooks/post-checkout",
        "git config --global core.editor left; git config core.fsmonitor 'echo fsmonitor >&2'",
        "ln -s / $BUILDKITE_BUILD_PATH/root",
        "setsid sh -c 'while sleep 0.1; do echo left > $BUILDKITE_BUILD_PATH/again; done' &",
        "echo done leaving",
    ]
)
LOOK = "\n".join(
    [
        *(f"[ ! -e {path} ] || echo 'seen: {path}'" for path in (*SHARED, *LOST)),
        '[ ! -L $BUILDKITE_BUILD_PATH/root ] || echo "seen: the link"',
        '[ -z "$(git config core.editor)$(git config core.fsmonitor)" ] || echo "seen: git config"',
        'cat /proc/[0-9]*/cmdline | tr "\\0" " " | grep -c "[s]leep 0.1" || true',
        "echo done looking",
    ]
)


def runs(fleet: Fleet, command: str, **env: str) -> Job:
    mirrors = ("--git-mirrors-path", str(fleet.base / "mirrors"))
    with fleet.agent(*mirrors, name=env.get("BUILDKITE_AGENT_NAME", "agent-1")):
        job = fleet.control.enqueue(fleet.env(command, **env))
        assert fleet.control.finished(job, 60) == ("0", "", ""), job.log.decode()
    assert b"\ndone " in job.log
    return job


def seen(job: Job) -> list[str]:
    lines = job.log.decode().splitlines()
    return [line.strip() for line in lines if line.startswith("seen: ")]


@pytest.mark.parametrize(
    "other",
    [
        {"BUILDKITE_BRANCH": "main"},
        {"BUILDKITE_BRANCH": "fresh/1"},
        {"BUILDKITE_BRANCH": "feature", "BUILDKITE_AGENT_NAME": "agent-2"},
        {"BUILDKITE_BRANCH": "feature", "BUILDKITE_ORGANIZATION_SLUG": "acme-2"},
    ],
    ids=["another-rule", "fresh", "another-agent", "another-organization"],
)
def test_workspace_of_other_trust_level_is_not_seen(fleet: Fleet, other: dict[str, str]) -> None:
    fleet.policy(POLICY)
    runs(fleet, LEAVE, BUILDKITE_BRANCH="feature")
    job = runs(fleet, LOOK, **other)
    assert seen(job) == []
    assert b"the hook of another" not in job.log
    assert b"fsmonitor" not in job.log.split(b"Running commands")[0]


def test_fresh_workspace_is_removed_after_job(fleet: Fleet) -> None:
    fleet.policy(POLICY)
    runs(fleet, LEAVE, BUILDKITE_BRANCH="fresh/1")
    assert seen(runs(fleet, LOOK, BUILDKITE_BRANCH="fresh/1")) == []
    assert not list((fleet.base / "state/fresh").glob("*"))


def test_workspace_within_one_rule_shares_checkout_plugins_and_mirrors_only(fleet: Fleet) -> None:
    """The meaning of `reuse`; it also shows that LOOK finds what LEAVE has left."""
    fleet.policy(POLICY)
    runs(fleet, LEAVE, BUILDKITE_BRANCH="feature")
    found = seen(runs(fleet, LOOK, BUILDKITE_BRANCH="feature-2"))
    assert "seen: $BUILDKITE_BUILD_PATH/left" in found
    assert "seen: $BUILDKITE_PLUGINS_PATH/left" in found
    assert "seen: $BUILDKITE_GIT_MIRRORS_PATH/left" in found
    assert "seen: the link" in found
    assert not {f"seen: {path}" for path in LOST} & set(found)


def test_workspace_tree_deeper_than_any_path_is_removed(fleet: Fleet) -> None:
    """It does not keep the next jobs of this host from starting either."""
    fleet.policy(POLICY)
    dig = (
        "python3 -c \"import os; [(os.mkdir('d'), os.chdir('d')) for _ in range(3000)]\"\n"
        "echo done digging"
    )
    runs(fleet, dig, BUILDKITE_BRANCH="fresh/1")
    assert not list((fleet.base / "state/fresh").glob("*"))
    runs(fleet, LOOK, BUILDKITE_BRANCH="main")
