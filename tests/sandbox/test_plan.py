"""Every flag of the container, and the paths that it must not hide."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootstrap.errors import Refused
from bootstrap.host.config import Sandbox
from bootstrap.job.assemble import assemble
from bootstrap.job.model import Job
from bootstrap.policy.model import Grant, Limits
from bootstrap.sandbox.model import Image, SandboxSpec
from bootstrap.sandbox.plan import (
    engine_body,
    holder_body,
    holder_spec,
    joined_body,
    plan,
    workspace_key,
)
from tests.job.given import TOKEN, job_env, process_env

DEFAULTS = Sandbox(image="job:latest")


def job(agent: dict[str, str] | None = None, **env: str) -> Job:
    return assemble(job_env(**env), process_env(**(agent or {})))


def spec_of(of: Job | None = None, grant: Grant | None = None, **settings: Any) -> SandboxSpec:
    return plan(
        of or job(),
        grant or Grant(),
        DEFAULTS.model_copy(update=settings),
        token="t-1",
        uid=61007,
        image=Image(id="sha256:abc"),
        sandbox_directory=Path("/run/airlock/jobs/t-1/sandbox"),
        workspace=Path("/var/lib/airlock/workspaces/w"),
        agent_binary=Path("/usr/bin/buildkite-agent"),
    )


def body(of: Job | None = None, grant: Grant | None = None, **settings: Any) -> dict[str, Any]:
    return engine_body(spec_of(of, grant, **settings), "{profile}")


def test_container_configuration_is_locked_down() -> None:
    made = body()
    host = made["HostConfig"]
    assert made["User"] == "61007:61007"
    assert made["Tty"] is False
    assert host["CapDrop"] == ["ALL"]
    assert "CapAdd" not in host
    assert host["SecurityOpt"] == ["no-new-privileges:true", "seccomp={profile}"]
    assert host["Privileged"] is False
    assert host["ReadonlyRootfs"] is True
    assert host["NetworkMode"] == "airlock"
    assert host["IpcMode"] == host["CgroupnsMode"] == "private"
    assert host["UsernsMode"] == "host"
    assert host["LogConfig"] == {"Type": "none"}
    assert not {"PidMode", "UTSMode", "PortBindings", "Binds"} & set(host)


def test_container_configuration_has_no_job_value_but_names() -> None:
    text = json.dumps(body(job(NPM_TOKEN="npm-secret", BUILDKITE_COMMAND="run the-command")))
    assert TOKEN not in text
    assert "npm-secret" not in text
    assert "the-command" not in text
    assert "Env" not in body()


def test_mounts_are_read_only_but_the_workspace_and_have_no_docker_socket() -> None:
    mounts = body()["HostConfig"]["Mounts"]
    writable = {mount["Target"]: mount["Source"] for mount in mounts if not mount["ReadOnly"]}
    assert writable == {
        "/var/lib/buildkite-agent/builds": "/var/lib/airlock/workspaces/w/builds",
        "/var/lib/buildkite-agent/plugins": "/var/lib/airlock/workspaces/w/plugins",
    }
    assert not any("docker" in json.dumps(mount) for mount in mounts)


def test_the_hosts_limits_are_at_most_those_of_the_guardrails() -> None:
    """A rule without limits falls back on the host's, which guardrails bind as well."""
    below = Limits(memory=1 << 30, cpus=0.5, pids=100)
    spec = spec_of(grant=Grant(at_most=below))
    assert (spec.memory, spec.cpus, spec.pids) == (1 << 30, 0.5, 100)
    above = Limits(memory=1 << 50, cpus=1000.0, pids=1 << 20)
    spec = spec_of(grant=Grant(at_most=above))
    assert (spec.memory, spec.cpus, spec.pids) == (DEFAULTS.memory, DEFAULTS.cpus, DEFAULTS.pids)
    own = Limits(memory=1 << 29, cpus=0.25, pids=64)
    spec = spec_of(grant=Grant(limits=own, at_most=below))
    assert (spec.memory, spec.cpus, spec.pids) == (1 << 29, 0.25, 64)


def test_limits_of_the_rule_override_the_hosts() -> None:
    limits = Limits(memory=1 << 30, cpus=0.5, pids=100)
    host = body(grant=Grant(limits=limits))["HostConfig"]
    assert (host["Memory"], host["MemorySwap"]) == (1 << 30, 1 << 30)
    assert (host["CpuQuota"], host["CpuPeriod"], host["PidsLimit"]) == (50_000, 100_000, 100)
    assert host["CpuShares"] == 512
    assert body()["HostConfig"]["Memory"] == DEFAULTS.memory


@pytest.mark.parametrize(
    ("cpus", "shares"), [(4.0, 4096), (1.0, 1024), (0.25, 256), (0.0001, 2), (1000.0, 262_144)]
)
def test_cpu_shares_follow_cpus_within_the_kernels_bounds(cpus: float, shares: int) -> None:
    assert body(cpus=cpus)["HostConfig"]["CpuShares"] == shares


def test_apparmor_profile_is_requested_where_the_engine_applies_one() -> None:
    spec = spec_of()
    assert engine_body(spec, "{profile}", "docker-default")["HostConfig"]["SecurityOpt"] == [
        "no-new-privileges:true", "seccomp={profile}", "apparmor=docker-default",
    ]  # fmt: skip


def test_agent_hooks_are_mounted_only_if_configured() -> None:
    hooks = "/etc/buildkite-agent/hooks"
    assert hooks not in {mount["Source"] for mount in body()["HostConfig"]["Mounts"]}
    mounted = body(hooks=True)["HostConfig"]["Mounts"]
    assert [m["ReadOnly"] for m in mounted if m["Source"] == hooks] == [True]


@pytest.mark.parametrize(
    "path",
    ["/", "/etc", "/etc/cron.d", "/proc/1", "/usr/lib", "/airlock", "/airlock/marks",
     "/opt/airlock/bin", "/home/airlock", "/run/buildkite", "/dev/shm", "//usr/lib", "//airlock"],
)  # fmt: skip
def test_agent_path_that_hides_system_directories_is_refused(path: str) -> None:
    with pytest.raises(Refused, match="cannot be mounted in the container"):
        body(job({"BUILDKITE_BUILD_PATH": path}))
    with pytest.raises(Refused, match="cannot be mounted in the container"):
        body(job({"BUILDKITE_PLUGINS_PATH": path}))


def test_workspace_key_differs_by_agent_pipeline_rule_and_apart() -> None:
    """Also where names run together: a/bc is not ab/c."""
    parties = [
        (job(), "deploy"),
        (job(), "test"),
        (job(BUILDKITE_PIPELINE_SLUG="store", BUILDKITE_ORGANIZATION_SLUG="acmefront"), "deploy"),
        (job(BUILDKITE_AGENT_NAME="agent-2"), "deploy"),
        (job(BUILDKITE_ORGANIZATION_SLUG="acm", BUILDKITE_PIPELINE_SLUG="estorefront"), "deploy"),
    ]
    keys = {workspace_key(of.claims, rule) for of, rule in parties}
    assert len(keys) == len(parties)
    apart = {workspace_key(job().claims, "deploy", apart) for apart in ((), ("a", "b"), ("ab", ""))}
    assert len(apart) == 3
    assert workspace_key(job().claims, "deploy") == workspace_key(job().claims, "deploy")


@pytest.mark.parametrize("slug", ["☃", "a b", "-rf", "~", "x" * 200])
def test_workspace_key_of_any_slug_is_a_plain_file_name(slug: str) -> None:
    key = workspace_key(replace(job().claims, pipeline=slug), "rule")
    assert key.isascii()
    assert "/" not in key
    assert len(key) <= 60


def test_volumes_of_the_image_are_in_memory_unless_something_is_mounted_there() -> None:
    volumes = ("/data", "/data/", "/tmp", "/home/airlock", "/airlock")
    spec = replace(spec_of(tmp=64 << 20), image=Image(id="sha256:abc", volumes=volumes))
    mounts = engine_body(spec, "{profile}")["HostConfig"]["Mounts"]
    assert [mount for mount in mounts if mount["Type"] != "bind"] == [
        {
            "Type": "tmpfs",
            "Target": "/data",
            "TmpfsOptions": {"SizeBytes": 64 << 20, "Mode": 0o1777},
        }
    ]


def test_job_with_a_holder_differs_in_the_network_only() -> None:
    own, joined = body(), joined_body(spec_of(), "{profile}", None, "abc")
    assert joined["HostConfig"] == {**own["HostConfig"], "NetworkMode": "container:abc"}
    assert {**joined, "HostConfig": {}} == {
        **{key: value for key, value in own.items() if key != "Hostname"},
        "HostConfig": {},
    }


def test_holder_is_as_confined_as_a_job_and_has_less() -> None:
    image = Image(id="sha256:abc", volumes=("/data",))
    spec = holder_spec(DEFAULTS, token="t", image=image)
    made, job_body = holder_body(spec, "{profile}", "docker-default"), body()
    host, of_job = made["HostConfig"], job_body["HostConfig"]
    for same in ("CapDrop", "Privileged", "Devices", "NetworkMode", "UsernsMode", "CgroupnsMode",
                 "ReadonlyRootfs", "RestartPolicy", "LogConfig", "Runtime", "Init"):  # fmt: skip
        assert host[same] == of_job[same]
    assert host["SecurityOpt"] == [*of_job["SecurityOpt"], "apparmor=docker-default"]
    assert host["Tmpfs"] == {}
    assert [mount["Type"] for mount in host["Mounts"]] == ["tmpfs"]
    assert made["Labels"] == {"airlock.network": "t"}
    assert int(made["User"].partition(":")[0]) not in DEFAULTS.uids
    assert made["Hostname"] == job_body["Hostname"]
