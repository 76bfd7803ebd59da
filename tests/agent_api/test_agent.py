"""The real buildkite-agent as the client: every sub-command that calls, on both back ends."""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.agent_api.model import AgentApiGrant
from tests.agent_api.served import AUDIENCE, SECRET, Served, gateway, offline, replay_options
from tests.lab import agent

pytestmark = pytest.mark.lab
NAMES = ("BUILDKITE_JOB_ID", "BUILDKITE_BUILD_ID", "BUILDKITE_STEP_ID")


@pytest.fixture(params=["offline", "gateway"])
def api(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    opened = gateway() if request.param == "gateway" else offline(tmp_path, **replay_options())
    with opened as served:
        yield served


@pytest.fixture
def work(tmp_path: Path) -> Path:
    directory = tmp_path / "work"
    directory.mkdir()
    return directory


def run(
    api: Served, work: Path, *arguments: str, stdin: str = "", **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(agent.binary()), *arguments],
        cwd=work, input=stdin, capture_output=True, text=True, timeout=60, check=False,
        env={
            "PATH": "/usr/bin:/bin", "HOME": str(work), "BUILDKITE_AGENT_ENDPOINT": api.url,
            "BUILDKITE_AGENT_ACCESS_TOKEN": api.token, "BUILDKITE_NO_COLOR": "true",
            **{name: api.env[name] for name in NAMES}, **env,
        },
    )  # fmt: skip


def output(api: Served, work: Path, *arguments: str, stdin: str = "", **env: str) -> str:
    done = run(api, work, *arguments, stdin=stdin, **env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_meta_data(api: Served, work: Path) -> None:
    output(api, work, "meta-data", "set", "colour", "blue\nnavy")
    output(api, work, "meta-data", "set", "shape", stdin="round")
    output(api, work, "meta-data", "set-batch", "a=1", "b=2")
    # Agent 4 adds a newline: docs/agent-contract.md#agent-3-and-agent-4
    assert output(api, work, "meta-data", "get", "colour").rstrip("\n") == "blue\nnavy"
    assert output(api, work, "meta-data", "keys").split() == ["a", "b", "colour", "shape"]
    output(api, work, "meta-data", "exists", "shape")
    assert run(api, work, "meta-data", "exists", "nothing").returncode == 100
    default = output(api, work, "meta-data", "get", "nothing", "--default", "fallback")
    assert default.rstrip("\n") == "fallback"
    of_build = output(api, work, "meta-data", "get", "a", "--build", api.own.build)
    assert of_build.rstrip("\n") == "1"


@pytest.mark.parametrize("parts", ["true", "false"])
def test_artifacts(api: Served, work: Path, parts: str) -> None:
    (work / "out" / "deep").mkdir(parents=True)
    big = os.urandom(11_000_000)
    (work / "out" / "big").write_bytes(big)
    (work / "out" / "deep" / "naïve name.txt").write_bytes(b"--small")
    (work / "out" / "empty").write_bytes(b"")
    env = {"BUILDKITE_NO_MULTIPART_ARTIFACT_UPLOAD": parts}
    output(api, work, "artifact", "upload", "out/**/*", **env)
    target = work / "down"
    target.mkdir()
    output(api, work, "artifact", "download", "out/*", str(target))
    assert (target / "out" / "big").read_bytes() == big
    assert (target / "out" / "deep" / "naïve name.txt").read_bytes() == b"--small"
    assert (target / "out" / "empty").read_bytes() == b""
    found = output(api, work, "artifact", "search", "out/b*", "--format", "%p %s\\n")
    assert found.split()[0] == "out/big"
    digest = hashlib.sha256(big).hexdigest()
    assert output(api, work, "artifact", "shasum", "--sha256", "out/big").strip() == digest
    if api.directory:
        assert (api.directory / "artifacts" / "out" / "big").read_bytes() == big


def test_annotations(api: Served, work: Path) -> None:
    output(api, work, "annotate", "hello *there*", "--context", "c", "--style", "success")
    output(api, work, "annotate", ", and more", "--context", "c", "--append")
    output(api, work, "annotate", "gone", "--context", "d")
    output(api, work, "annotation", "remove", "--context", "d")
    if api.job:
        assert api.job.shown == {"c": "hello *there*, and more"}
    if api.directory:
        page = (api.directory / "annotations.html").read_text()
        assert "<div>hello <em>there</em>, and more</div>" in page
        assert "gone" not in page
        assert api.shown[0] == "annotation c (success)\n┃ hello *there*"


def test_pipeline_upload(api: Served, work: Path) -> None:
    pipeline = "steps:\n- command: echo $$HOME\n- wait\n- group: g\n  steps: [{command: make}]\n"
    output(api, work, "pipeline", "upload", stdin=pipeline)
    if api.job:
        assert api.job.pipelines[0]["pipeline"]["steps"][0]["command"] == "echo $HOME"
    if api.directory:
        assert "command: echo $HOME" in (api.directory / "pipelines" / "1.yml").read_text()
        assert api.shown[0].splitlines()[1:] == [
            "├─ echo $HOME", "├─ wait", "╰─ group: g", "   ╰─ make"
        ]  # fmt: skip


def test_steps_and_cancellation(api: Served, work: Path) -> None:
    output(api, work, "step", "update", "label", "Shipped")
    output(api, work, "step", "update", "label", "+twice", "--append")
    assert output(api, work, "step", "get", "label").strip() == "Shipped+twice"
    output(api, work, "step", "cancel", "--step", api.own.step)
    output(api, work, "build", "cancel")
    output(api, work, "job", "update", "timeout", "20")


def test_oidc_and_secrets(api: Served, work: Path) -> None:
    asked = ("oidc", "request-token", "--audience", AUDIENCE, "--skip-redaction")
    token = output(api, work, *asked, "--lifetime", "60", "--claim", "organization_id").strip()
    assert token.count(".") == 2
    got = output(api, work, "secret", "get", "CONTRACT", "--skip-redaction")
    assert got == f"{SECRET}\n"
    refused = run(api, work, "secret", "get", "OTHER", "--skip-redaction")
    assert refused.returncode == 1
    assert "Airlock: " in refused.stderr
    assert "'OTHER'" in refused.stderr


def test_caches(api: Served, work: Path) -> None:
    cache = {"name": "node", "cache_key": ["node"], "target_paths": ["node_modules"]}
    (work / "cache.yml").write_text(json.dumps({"caches": [cache]}))
    (work / "node_modules").mkdir()
    (work / "store").mkdir()
    flags = ("--cache-config-file", "cache.yml", "--cache-store-url", f"file://{work}/store")
    assert "Cache miss" in run(api, work, "cache", "restore", *flags).stderr
    saved = run(api, work, "cache", "save", *flags)
    assert saved.returncode == 0
    assert ("Cache created" in saved.stderr) == (api.control is not None)


def test_the_agents_own_calls_are_refused(api: Served, work: Path) -> None:
    for verb in ("stop", "pause", "resume"):
        done = run(api, work, verb)
        assert done.returncode != 0
        assert "the agent's own" in done.stderr


def test_git_credentials_are_refused(api: Served, work: Path) -> None:
    asked = "protocol=https\nhost=example.com\npath=acme/storefront\n"
    done = run(api, work, "git-credentials-helper", "get", stdin=asked)
    assert done.returncode == 1
    assert "password=fail" in done.stdout
    assert "Airlock: " in done.stderr + done.stdout


def test_locks_need_the_agent_on_the_host(api: Served, work: Path) -> None:
    """Its socket is not in the sandbox: docs/agent-api.md#what-is-not-http."""
    done = run(api, work, "lock", "get", "key", "--sockets-path", str(work))
    assert done.returncode != 0
    assert "could not connect to Agent API" in done.stderr


def test_another_jobs_id_is_refused(api: Served, work: Path) -> None:
    foreign = "0190e0a0-0000-4000-8000-00000000dead"
    done = run(api, work, "annotate", "hello", "--job", foreign)
    assert done.returncode != 0
    assert "as another job" in done.stderr
    assert [call.path for call in api.refusals(1)] == [f"/jobs/{foreign}/annotations"]


def test_the_token_is_worthless_at_buildkite(work: Path) -> None:
    with gateway() as api:
        assert api.control
        direct = Served(port=int(api.control.url.rpartition(":")[2]), own=api.own, env=api.env)
        done = run(direct, work, "meta-data", "set", "a", "b")
        assert done.returncode != 0
        assert "401" in done.stderr


def test_a_big_call_that_is_refused_before_its_body_ends_with_the_message(work: Path) -> None:
    steps = [{"command": "x" * 10_000} for _ in range(600)]
    with gateway(AgentApiGrant()) as api:
        done = run(api, work, "pipeline", "upload", stdin=json.dumps({"steps": steps}))
        assert done.returncode != 0
        assert "Airlock: the rule does not allow to upload a pipeline" in done.stderr
        assert api.control
        assert api.control.calls == []


def test_a_rule_that_allows_nothing_allows_the_checkout(work: Path) -> None:
    with gateway(AgentApiGrant()) as api:
        assert run(api, work, "meta-data", "exists", "buildkite:git:commit").returncode == 100
        output(api, work, "meta-data", "set", "buildkite:git:commit", stdin="commit 0123")
        for arguments in (
            ("meta-data", "get", "other"), ("annotate", "hello"),
            ("oidc", "request-token", "--audience", AUDIENCE, "--skip-redaction"),
            ("secret", "get", "CONTRACT", "--skip-redaction"), ("step", "get", "label"),
            ("build", "cancel"),
        ):  # fmt: skip
            done = run(api, work, *arguments)
            assert done.returncode not in {0, 100}
            assert "Airlock: the rule does not allow" in done.stderr
        assert api.job
        assert api.job.meta_data == {"buildkite:git:commit": "commit 0123"}
