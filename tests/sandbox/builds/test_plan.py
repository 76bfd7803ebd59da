"""A builder's container: a job's in all but what its user namespace takes."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from bootstrap.host.builds_settings import USERS
from bootstrap.sandbox import confinement
from bootstrap.sandbox.builds import plan
from bootstrap.sandbox.model import Image, SandboxSpec
from bootstrap.sandbox.plan import joined_body
from bootstrap.sandbox.shares import Share
from tests.sandbox.test_plan import DEFAULTS

MOST = Share(memory=1 << 30, cpus=1.5, pids=99)
USERS_OF_SLOT = range(0x7000_0000, 0x7000_0000 + USERS)


def spec() -> SandboxSpec:
    return plan.builder_spec(
        MOST,
        DEFAULTS,
        token="t-1",
        users=USERS_OF_SLOT,
        image=Image(id="sha256:abc", volumes=("/home/user/.local/share/buildkit",)),
        directory=Path("/run/airlock/jobs/t-1/builder"),
        cache=Path("/var/lib/airlock/workspaces/w/buildkit"),
        resolvers=Path("/run/airlock/jobs/t-1/sandbox/resolv.conf"),
        program=Path("/usr/bin/airlock-builder"),
    )


def body(apparmor: str | None = None) -> dict[str, Any]:
    return plan.builder_body(spec(), confinement.profile(), apparmor, "c0ffee")


def test_it_differs_from_a_job_in_what_docs_builds_says_and_in_nothing_else() -> None:
    job = joined_body(spec(), confinement.profile(), None, "c0ffee")
    own, jobs = body(), job
    differing = {key for key in own if own[key] != jobs.get(key)}
    assert differing == {"Entrypoint", "Env", "AttachStdout", "AttachStderr", "HostConfig"}
    host, of_job = own["HostConfig"], jobs["HostConfig"]
    assert set(of_job) <= set(host)
    differing = {key for key in host if host[key] != of_job.get(key)}
    assert differing == {"SecurityOpt", "MaskedPaths", "ReadonlyPaths", "Tmpfs"}
    assert host["SecurityOpt"][0] == "no-new-privileges:true"
    assert host["CapDrop"] == ["ALL"]
    assert host["UsernsMode"] == "host"
    assert host["NetworkMode"] == "container:c0ffee"
    assert host["ReadonlyRootfs"]
    assert not host["Devices"]


def test_only_the_cache_of_the_workspace_is_writable() -> None:
    writable = [m["Source"] for m in body()["HostConfig"]["Mounts"] if not m.get("ReadOnly", True)]
    assert writable == ["/var/lib/airlock/workspaces/w/buildkit"]
    sources = [m.get("Source", "") for m in body()["HostConfig"]["Mounts"]]
    assert not [source for source in sources if "docker.sock" in source]


def test_apparmor_does_not_forbid_its_mounts() -> None:
    assert "apparmor=unconfined" in body("docker-default")["HostConfig"]["SecurityOpt"]
    assert not [o for o in body()["HostConfig"]["SecurityOpt"] if o.startswith("apparmor")]


def names(profile: str, action: str = "SCMP_ACT_ALLOW") -> set[str]:
    return {n for r in json.loads(profile)["syscalls"] if r["action"] == action for n in r["names"]}


def test_its_profile_allows_mounts_and_namespaces_and_nothing_else_more() -> None:
    jobs = confinement.profile()
    more = names(plan.seccomp(jobs)) - names(jobs)
    assert more == {
        "chroot", "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr",
        "move_mount", "open_tree", "pivot_root", "setdomainname", "sethostname", "setns", "umount",
        "umount2", "unshare",
    }  # fmt: skip
    assert not names(jobs) - names(plan.seccomp(jobs))
    clone = [r for r in json.loads(plan.seccomp(jobs))["syscalls"] if "clone" in r["names"]]
    assert [rule.get("args") for rule in clone] == [None]


@pytest.mark.parametrize(
    "call", ["bpf", "keyctl", "perf_event_open", "io_uring_setup", "userfaultfd", "init_module",
             "kexec_load", "open_by_handle_at", "reboot", "swapon", "quotactl", "syslog"],
)  # fmt: skip
def test_its_profile_does_not_allow(call: str) -> None:
    assert call not in names(plan.seccomp(confinement.profile()))


def test_its_limits_are_its_share() -> None:
    assert (spec().memory, spec().cpus, spec().pids) == (1 << 30, 1.5, 99)


@pytest.mark.parametrize(("cache", "policies"), [(0, []), (5 << 30, [5 << 30])])
def test_settings_grant_no_entitlement_and_bound_the_cache(cache: int, policies: list[int]) -> None:
    found = tomllib.loads(plan.settings(cache).decode())
    assert found["insecure-entitlements"] == []
    assert found["cdi"]["disabled"], "no devices"
    assert not found["worker"]["containerd"]["enabled"]
    oci = found["worker"]["oci"]
    assert (oci["rootless"], oci["networkMode"], oci["gc"]) == (True, "host", True)
    assert "noProcessSandbox" not in oci
    assert [one["maxUsedSpace"] for one in oci.get("gcpolicy", [])] == policies


def test_steps_ask_the_jobs_own_resolver() -> None:
    """BuildKit would replace it, which is on the loopback, by public ones."""
    for cache in (0, 5 << 30):
        found = tomllib.loads(plan.settings(cache, "127.0.0.53").decode())
        assert found["dns"] == {"nameservers": ["127.0.0.53"]}
    assert "dns" not in tomllib.loads(plan.settings(0).decode())


def test_clients_find_it() -> None:
    found = plan.variables()
    assert found["BUILDKIT_HOST"] == "unix:///airlock/buildkit.sock"
    script = plan.preparation().decode()
    written = json.loads(script.split("echo '")[1].split("'")[0])
    assert written["Name"] == found["BUILDX_BUILDER"]
    assert written["Driver"] == "remote"
    assert [node["Endpoint"] for node in written["Nodes"]] == [found["BUILDKIT_HOST"]]
    assert f">{found['BUILDX_CONFIG']}/instances/{written['Name']}" in script
