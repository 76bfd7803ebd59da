"""`airlock admit --final`: the only decision about a job, because no sandbox follows it."""

import json
import os
import signal
import subprocess
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import WrongConfiguration
from bootstrap.policy.model import Admitted, Grant, Reason, Workspace
from bootstrap.policy.unsandboxed import needs_sandbox
from bootstrap.service.protocol import command
from tests.fakes.simulator import Call, Reply, Simulator, json_reply, loopback
from tests.policy.given import HEAD
from tests.policy.given import policy as policy_of
from tests.test_cli import AIRLOCK, Done, airlock, as_agent, configured

ROLE = "arn:aws:iam::111122223333:role/x"


class Annotated(Simulator):
    """Buildkite, as far as an annotation of a build goes."""

    def answer(self, call: Call) -> Reply:
        assert call.path.endswith("/annotations"), call.path
        return json_reply({})


def decided(tmp_path: Path, *options: str, rule: str = "allow: {}", **env: str) -> Done:
    config = tmp_path / "airlock.toml"
    if not config.exists():
        configured(tmp_path)
    (tmp_path / "policies/storefront.yaml").write_text(f"{HEAD}  - {{name: all, {rule}}}\n")
    with Annotated(loopback()) as buildkite:
        given_by_agent = {**as_agent(tmp_path, **env), "BUILDKITE_AGENT_ENDPOINT": buildkite.url}
        done = airlock("admit", *options, "--config", str(config), env=given_by_agent)
    assert bool(buildkite.calls) is (done.returncode != 0), "a refusal is on the build's page"
    return done


def events(tmp_path: Path) -> list[str]:
    lines = (tmp_path / "records.jsonl").read_text().splitlines()
    return [json.loads(line)["event"] for line in lines]


def test_a_job_that_a_rule_admits_may_start(tmp_path: Path) -> None:
    done = decided(tmp_path, "--final", rule="when: {branch: main}, allow: {workspace: fresh}")
    assert done.returncode == 0, done.stdout
    assert "admitted by rule 'all'" in done.stdout
    assert events(tmp_path) == ["admitted"]


def test_a_job_that_no_rule_admits_is_refused(tmp_path: Path) -> None:
    done = decided(tmp_path, "--final", BUILDKITE_PULL_REQUEST="7")
    assert done.returncode == 77
    assert "rule 'all': pull-request: expected no, got fork" in done.stdout


NEEDED = {
    f"role: '{ROLE}'": "role",
    "limits: {memory: 1GiB}": "limits",
    "image: 'job:2'": "image",
    "agent-api: {}": "agent-api",
    "secrets: {TOKEN: 'ssm:/x'}, env: ['AWS_*'], limits: {cpus: 1}": "limits, secrets",
}


@pytest.mark.parametrize("allow", NEEDED)
def test_a_rule_that_needs_a_sandbox_admits_nothing(tmp_path: Path, allow: str) -> None:
    rule = f"allow: {{{allow}}}"
    done = decided(tmp_path, "--final", rule=rule)
    assert done.returncode == 78, done.stdout
    assert f"has {NEEDED[allow]}, and no sandbox follows" in done.stdout
    assert events(tmp_path) == ["admitted", "failed"]
    assert decided(tmp_path, rule=rule).returncode == 0, "on a host the sandbox sees to it"


def test_variables_that_a_sandbox_would_leave_out_refuse_the_job(tmp_path: Path) -> None:
    """What runs the job may give it a role, so it counts as one of a rule that grants something."""
    git = "BUILDKITE_REFSPEC"
    variables = {git: "refs/pull/7/head", "NODE_OPTIONS": "--require=/x"}
    done = decided(tmp_path, "--final", **variables)
    assert done.returncode == 77
    assert f"the job sets {git}, NODE_OPTIONS, which no sandbox leaves out here" in done.stdout
    assert f"{git}: the agent's bootstrap takes settings from it" in done.stdout
    listed = decided(tmp_path, "--final", rule="allow: {env: [NODE_OPTIONS]}", **variables)
    assert f"the job sets {git}, which" in listed.stdout
    assert decided(tmp_path, **variables).returncode == 0, "on a host the sandbox sees to it"


def test_a_token_of_the_pod_cannot_be_named_as_an_artifact(tmp_path: Path) -> None:
    paths = "/var/run/secrets/eks.amazonaws.com/serviceaccount/token"
    done = decided(tmp_path, "--final", BUILDKITE_ARTIFACT_PATHS=paths)
    assert done.returncode == 77
    assert "files outside of the checkout" in done.stdout


def test_a_job_that_is_not_decided_about_does_not_start(tmp_path: Path) -> None:
    configured(tmp_path, records="/dev/full")
    assert decided(tmp_path).returncode == 0, "airlock bootstrap decides again"
    done = decided(tmp_path, "--final")
    assert done.returncode == 125
    assert "Airlock starts no job that it cannot record" in done.stdout


@pytest.mark.parametrize(("options", "status"), [((), 0), (("--final",), 125)])
def test_a_decision_that_is_interrupted_is_none(
    tmp_path: Path, options: tuple[str, ...], status: int
) -> None:
    config = configured(tmp_path)
    with loopback() as silent:
        host, port = silent.getsockname()
        silent.settimeout(20)
        config.write_text(config.read_text().replace("[policy]", '[policy]\nidentity = "signed"'))
        env = {**as_agent(tmp_path), "BUILDKITE_AGENT_ENDPOINT": f"http://{host}:{port}"}
        asked = subprocess.Popen(
            [str(AIRLOCK), "admit", *options, "--config", str(config)],
            env={"PATH": os.environ["PATH"], **env}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        connection, _ = silent.accept()
        with connection:
            asked.send_signal(signal.SIGTERM)
            output, _ = asked.communicate(timeout=20)
    assert asked.returncode == status, output
    assert ("the job does not start" in output) is bool(options)


def admitted(grant: Grant, *reasons: Reason) -> Admitted:
    return Admitted(
        rule="r", grant=grant, policy_origin="p.yaml", policy_digest="0", reasons=reasons
    )


@given(st.sampled_from(Workspace))
def test_the_conditions_of_a_rule_need_no_sandbox(workspace: Workspace) -> None:
    assert needs_sandbox(admitted(Grant(workspace=workspace))) == ()


@pytest.mark.parametrize(
    "name",
    [field.name for field in fields(Grant) if field.name not in ("workspace", "env", "kinds")],
)
def test_every_setting_of_a_grant_needs_one_unless_it_is_known_not_to(name: str) -> None:
    """A key that is added to the policies' language is refused until somebody decides about it."""
    changed: dict[str, Any] = {name: "something else"}
    assert needs_sandbox(admitted(replace(Grant(), **changed))) == (name.replace("_", "-"),)


def test_every_kind_of_grant_needs_one() -> None:
    rule = f"  - {{name: r, allow: {{roles: {{other: '{ROLE}'}}}}}}\n"
    (only,) = policy_of(rule).rules
    assert needs_sandbox(admitted(only.allow)) == ("roles",)


@pytest.mark.parametrize(("rule", "needs"), [("r", ("commit-on-branch",)), ("other", ())])
def test_a_judged_commit_needs_one(rule: str, needs: tuple[str, ...]) -> None:
    reason = Reason(
        rule=rule, subject="commit-on-branch", expected="verified", got="verified", holds=True
    )
    assert needs_sandbox(admitted(Grant(), reason)) == needs


def test_the_service_takes_no_such_request() -> None:
    with pytest.raises(WrongConfiguration, match="the launcher's arguments are 'admit --final'"):
        command(b"admit\0--final\0")
