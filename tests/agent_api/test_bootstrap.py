"""A whole job of the real bootstrap with our agent API: checkout, secrets, tools, artifacts."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent_api.served import SECRET, Served, gateway, offline, replay_options
from tests.lab import agent

pytestmark = pytest.mark.lab
COMMAND = r"""
set -e
echo "the secret is $FROM_SECRET, and again $(buildkite-agent secret get CONTRACT)"
echo ${#FROM_SECRET} characters
buildkite-agent env set COLOUR=blue
buildkite-agent env get COLOUR
printf hidden-value | buildkite-agent redactor add
sleep 0.1
echo "this is hidden-value"
buildkite-agent oidc request-token --audience sts.amazonaws.com > token
test $(tr -dc . < token | wc -c) = 2
buildkite-agent job promise-failure 3 --reason soon
buildkite-agent lock get key || echo "lock: $?"
buildkite-agent workdir set .
buildkite-agent tool keygen --alg EdDSA --key-id k > keys
buildkite-agent env dump | grep -c BUILDKITE_JOB_ID
mkdir out && echo content > out/a.txt
buildkite-agent meta-data get buildkite:git:commit | head -1
"""


@pytest.fixture(params=["offline", "gateway"])
def api(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    opened = gateway() if request.param == "gateway" else offline(tmp_path, **replay_options())
    with opened as served:
        yield served


def repository(base: Path) -> Path:
    path = base / "repository"
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
    for arguments in (
        ("init", "-q", "-b", "main", str(path)),
        ("-C", str(path), *identity, "commit", "-q", "--allow-empty", "-m", "First\n\nBody"),
    ):
        subprocess.run(["git", *arguments], check=True, timeout=30)
    return path


def environment(api: Served, base: Path) -> dict[str, str]:
    paths = {name: base / name for name in ("builds", "hooks", "plugins", "home", "sockets")}
    for path in paths.values():
        path.mkdir()
    return {
        **api.env,
        "PATH": f"{agent.binary().parent}:/usr/bin:/bin",
        "HOME": str(paths["home"]),
        "BUILDKITE_AGENT_ENDPOINT": api.url,
        "BUILDKITE_AGENT_ACCESS_TOKEN": api.token,
        "BUILDKITE_BUILD_PATH": str(paths["builds"]),
        "BUILDKITE_BIN_PATH": str(agent.binary().parent),
        "BUILDKITE_HOOKS_PATH": str(paths["hooks"]),
        "BUILDKITE_PLUGINS_PATH": str(paths["plugins"]),
        "BUILDKITE_SOCKETS_PATH": str(paths["sockets"]),
        "BUILDKITE_COMMAND_EVAL": "true",
        "BUILDKITE_PLUGINS_ENABLED": "true",
        "BUILDKITE_LOCAL_HOOKS_ENABLED": "true",
        "BUILDKITE_SHELL": "/bin/bash -e -c",
        "BUILDKITE_REPO": str(repository(base)),
        "BUILDKITE_COMMIT": "HEAD",
        "BUILDKITE_COMMAND": COMMAND,
        "BUILDKITE_ARTIFACT_PATHS": "out/*",
        "BUILDKITE_SECRETS_CONFIG": '[{"key": "CONTRACT", "environment_variable": "FROM_SECRET"}]',
    }


def test_a_whole_job(api: Served, tmp_path: Path) -> None:
    base = tmp_path / "job"
    base.mkdir()
    done = subprocess.run(
        [str(agent.binary()), "bootstrap"], cwd=base, env=environment(api, base),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
    )  # fmt: skip
    log = done.stdout
    print(log)
    assert done.returncode == 0
    assert "the secret is [REDACTED], and again [REDACTED]" in log
    assert f"{len(SECRET)} characters" in log
    assert SECRET not in log
    assert "this is [REDACTED]" in log
    assert "lock: 1" in log
    assert "\ncommit " in log
    assert api.refused == []
    if api.offline:
        report = api.offline.report()
        assert report.meta_data["buildkite:git:commit"].startswith("commit ")
        assert [(one.path, one.state) for one in report.artifacts] == [("out/a.txt", "finished")]
        assert "the job declared that it will fail with exit status 3" in api.shown
    if api.job:
        assert api.job.meta_data["buildkite:git:commit"].startswith("commit ")
        assert [(one["path"], one["state"]) for one in api.job.artifacts] == [
            ("out/a.txt", "finished")
        ]
        assert api.job.promised == [{"exit_status": 3, "reason": "soon"}]
