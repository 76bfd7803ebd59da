"""Doctor calls those settings of the agent ineffective that docs/features.md does."""

from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap.doctor.checks import findings
from bootstrap.doctor.model import Status
from bootstrap.doctor.read import agent
from bootstrap.doctor.read.places import Places
from bootstrap.doctor.snapshot import Snapshot
from bootstrap.host.config import Sandbox
from tests.doctor.given import AGENT, GOOD, IMAGE, UNITS, found, host


def having(**settings: str) -> Snapshot:
    named = {name.replace("_", "-"): value for name, value in settings.items()}
    return replace(GOOD, agent=replace(AGENT, settings=named))


@pytest.mark.parametrize("name", ["git_mirrors_path", "signing_aws_kms_key"])
def test_settings_that_work_in_sandboxes_are_not_named(name: str) -> None:
    assert found(having(**{name: "/some/thing"}), "ignored-settings").status is Status.OK


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("git_mirrors_skip_update", "true"),
        ("signing_jwks_file", "/etc/key.json"),
        ("tracing_backend", "opentelemetry"),
        ("additional_hooks_paths", "/etc/more"),
    ],
)
def test_settings_without_effect_are_named(name: str, value: str) -> None:
    finding = found(having(**{name: value}), "ignored-settings")
    assert finding.status is Status.WARN
    assert name.replace("_", "-") in finding.seen


def test_setting_that_is_off_is_not_named() -> None:
    finding = found(having(git_mirrors_skip_update="false"), "ignored-settings")
    assert finding.status is Status.OK


def test_tracing_with_a_collector_works() -> None:
    names = {"buildkite-agent.service": frozenset({"OTEL_EXPORTER_OTLP_ENDPOINT"})}
    traced = replace(having(tracing_backend="opentelemetry"), units=replace(UNITS, variables=names))
    assert found(traced, "ignored-settings").status is Status.OK


def test_further_hooks_count_with_the_hooks_of_the_agent() -> None:
    with_hooks = replace(
        having(additional_hooks_paths="/etc/more"),
        host=host(sandbox=Sandbox(image=IMAGE, hooks=True)),
    )
    assert found(with_hooks, "ignored-settings").status is Status.OK


def test_without_the_agents_configuration_one_check_fails_and_the_others_name_it(
    tmp_path: Path,
) -> None:
    read = agent.agent(GOOD.host, Places(agent_cfg=tmp_path / "buildkite-agent.cfg"))
    subject = {one.check: one for one in findings(replace(GOOD, agent=read))}
    assert subject["agent-config"].status is Status.FAIL
    for name in ("bootstrap-script", "launcher", "pre-bootstrap", "agent-settings", "spawn"):
        assert subject[name].seen == "not known: see the check agent-config"
