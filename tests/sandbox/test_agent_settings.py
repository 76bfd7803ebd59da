"""Settings of the agent in the sandbox: mirrors, additional hooks, signing, tracing."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.host.config import Sandbox
from bootstrap.job.assemble import assemble
from bootstrap.job.model import Job
from bootstrap.policy.model import Grant
from bootstrap.sandbox.agent_settings import passed, trees, without_effect
from bootstrap.sandbox.environment import sandbox_environment
from bootstrap.sandbox.model import Image, Mount
from bootstrap.sandbox.plan import plan
from tests.job.given import job_env, process_env

MIRRORS = "/var/lib/buildkite-agent/git-mirrors"
OTEL, DATADOG = (
    {"BUILDKITE_TRACING_BACKEND": "opentelemetry"},
    {"BUILDKITE_TRACING_BACKEND": "datadog"},
)
V4 = {"BUILDKITE_OPENTELEMETRY_TRACING": "true"}


def job(job_variables: dict[str, str] | None = None, **agent: str) -> Job:
    return assemble(job_env(**(job_variables or {})), process_env(**agent))


def inside(of: Job) -> dict[str, str]:
    composed = sandbox_environment(of, job_env=of.claims.env, granted={}, home="/home/a")
    return dict(composed.variables)


def mounts(of: Job, *, hooks: bool) -> list[Mount]:
    image = Image(reference="a", id="sha256:0", digests=(), volumes=())
    spec = plan(
        of, Grant(), Sandbox(image="a", hooks=hooks), token="t", uid=2000, image=image,
        sandbox_directory=Path("/s"), workspace=Path("/w"), agent_binary=Path("/b"),
    )  # fmt: skip
    return list(spec.mounts)


def test_mirrors_are_a_part_of_the_workspace_where_the_agent_has_them() -> None:
    of = job(BUILDKITE_GIT_MIRRORS_PATH=MIRRORS, BUILDKITE_GIT_MIRRORS_LOCK_TIMEOUT="300")
    assert Mount(source=Path("/w/mirrors"), target=Path(MIRRORS), writable=True) in mounts(
        of, hooks=False
    )
    assert inside(of)["BUILDKITE_GIT_MIRRORS_PATH"] == MIRRORS
    assert inside(of)["BUILDKITE_GIT_MIRRORS_LOCK_TIMEOUT"] == "300"
    assert "mirrors" not in trees(job(BUILDKITE_GIT_MIRRORS_PATH=""))


@pytest.mark.parametrize("name", ["BUILDKITE_GIT_MIRRORS_PATH", "BUILDKITE_ADDITIONAL_HOOKS_PATHS"])
def test_a_job_names_neither_mirrors_nor_hooks_of_the_host(name: str) -> None:
    of = job({name: "/etc"})
    assert not [mount for mount in mounts(of, hooks=True) if mount.source == Path("/etc")]
    assert "mirrors" not in trees(of)
    assert name not in inside(of)


def test_mirrors_that_nothing_else_updates_are_updated() -> None:
    of = job(BUILDKITE_GIT_MIRRORS_PATH=MIRRORS, BUILDKITE_GIT_MIRRORS_SKIP_UPDATE="true")
    assert "BUILDKITE_GIT_MIRRORS_SKIP_UPDATE" not in inside(of)
    assert [line.split()[0] for line in without_effect(of.agent.values)] == [
        "git-mirrors-skip-update"
    ]


def test_additional_hooks_are_where_the_bootstrap_looks_for_them() -> None:
    of = job(BUILDKITE_ADDITIONAL_HOOKS_PATHS="/etc/b,/etc/c")
    at = [Path(path) for path in inside(of)["BUILDKITE_ADDITIONAL_HOOKS_PATHS"].split(",")]
    mounted = {mount.target: mount for mount in mounts(of, hooks=True)}
    assert [str(mounted[path].source) for path in at] == ["/etc/b", "/etc/c"]
    assert not any(mounted[path].writable for path in at)
    assert not set(at) & {mount.target for mount in mounts(of, hooks=False)}


@pytest.mark.parametrize(("values", "why"), [
    ({}, None),
    ({**OTEL, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.example.com:4318"}, None),
    ({**OTEL, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://10.0.0.7:4318"}, None),
    ({**OTEL, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318",
      "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector.example.com:4318"}, None),
    ({**V4, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://[2001:db8::1]:4318"}, None),
    ({"BUILDKITE_OPENTELEMETRY_TRACING": "false"}, None),
    ({**DATADOG, "DD_AGENT_HOST": "datadog.example.com"}, None),
    (OTEL, "has no OTEL_EXPORTER_OTLP_ENDPOINT"),
    (V4, "has no OTEL_EXPORTER_OTLP_ENDPOINT"),
    (DATADOG, "has no DD_AGENT_HOST"),
    ({"BUILDKITE_TRACING_BACKEND": "other"}, "'other' is no back end"),
    *(({**OTEL, "OTEL_EXPORTER_OTLP_ENDPOINT": url}, "is a port of this host") for url in (
        "http://localhost:4318", "http://127.0.0.1:4318", "http://[::1]:4318", "http://0.0.0.0:1",
        "https://x.localhost", "localhost:4317", "unix:///run/otel.sock", "http://169.254.1.1:1",
        "http://[bad", "http://", "http://LOCALHOST:1",
    )),
    *(({**DATADOG, "DD_AGENT_HOST": host}, "DD_AGENT_HOST is a port of this host")
      for host in ("localhost", "127.0.0.1")),
    ({**DATADOG, "DD_TRACE_AGENT_URL": "unix:///var/run/datadog/apm.socket"}, "DD_TRACE_AGENT_URL"),
])  # fmt: skip
def test_tracing_reaches_the_bootstrap_only_with_a_collector_that_it_can_reach(
    values: dict[str, str], why: str | None
) -> None:
    found = list(without_effect(values))
    assert bool(found) is (why is not None)
    if why is None:
        assert passed(values) == values
    else:
        assert why in found[0]
        assert passed(values) == {}


@given(st.text(max_size=40))
def test_any_address_of_a_collector_is_judged(address: str) -> None:
    values = {**OTEL, "OTEL_EXPORTER_OTLP_ENDPOINT": address}
    assert bool(list(without_effect(values))) is (passed(values) != values)


def test_keys_that_sign_stay_outside_and_what_authenticates_spans_too() -> None:
    of = job(
        BUILDKITE_AGENT_JWKS_FILE="/etc/keys.json", BUILDKITE_AGENT_JWKS_KEY_ID="one",
        BUILDKITE_AGENT_AWS_KMS_KEY="alias/a", OTEL_EXPORTER_OTLP_HEADERS="authorization=secret",
    )  # fmt: skip
    assert not {"/etc/keys.json", "one", "authorization=secret"} & set(inside(of).values())
    assert inside(of)["BUILDKITE_AGENT_AWS_KMS_KEY"] == "alias/a"
    assert "signing-jwks-file" in next(without_effect(of.agent.values))
