"""A builder's container: a job's in all but what its user namespace takes."""

import errno
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from bootstrap.host.builds_settings import USERS
from bootstrap.host.config import Sandbox
from bootstrap.sandbox import confinement
from bootstrap.sandbox.builds import plan
from bootstrap.sandbox.model import Image, SandboxSpec
from bootstrap.sandbox.plan import joined_body
from bootstrap.sandbox.shares import Share
from tests.sandbox.test_plan import DEFAULTS

MOST = Share(memory=1 << 30, cpus=1.5, pids=99)
USERS_OF_SLOT = range(0x7000_0000, 0x7000_0000 + USERS)


def spec(defaults: Sandbox = DEFAULTS) -> SandboxSpec:
    return plan.builder_spec(
        MOST,
        defaults,
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


def test_of_the_host_it_has_its_directory_its_program_resolvers_and_the_cache() -> None:
    mounts = body()["HostConfig"]["Mounts"]
    assert {m["Target"]: m["Source"] for m in mounts if m["Type"] == "bind"} == {
        "/airlock": "/run/airlock/jobs/t-1/builder",
        "/opt/airlock/bin/airlock-builder": "/usr/bin/airlock-builder",
        "/etc/resolv.conf": "/run/airlock/jobs/t-1/sandbox/resolv.conf",
        "/var/lib/buildkit": "/var/lib/airlock/workspaces/w/buildkit",
    }


def test_it_is_the_slots_first_user_under_the_leases_name() -> None:
    made, settings = spec(), DEFAULTS.model_copy(update={"runtime": "crun", "open_files": 99})
    assert (made.user, made.group) == (USERS_OF_SLOT.start, USERS_OF_SLOT.start)
    assert (made.name, made.labels) == ("airlock-builder-t-1", {"airlock.job": "t-1"})
    assert made.tmp == DEFAULTS.tmp
    other = spec(defaults=settings)
    assert (other.runtime, other.open_files) == ("crun", 99)


def test_what_it_writes_to_in_memory_is_its_own_and_bounded() -> None:
    first = USERS_OF_SLOT.start
    options = f"rw,nosuid,nodev,uid={first},gid={first},mode=0755,size={DEFAULTS.tmp}"
    directories = ("/tmp", "/run", "/home/buildkit")
    assert body()["HostConfig"]["Tmpfs"] == dict.fromkeys(directories, options)


def test_it_runs_buildkit_with_its_settings_at_the_socket_that_it_is_passed() -> None:
    made = body()
    assert made["Entrypoint"] == [
        "/opt/airlock/bin/airlock-builder", "/airlock/control", "/bin/sh", "-c",
        "exec buildkitd --config /airlock/buildkitd.toml --addr fd://",
    ]  # fmt: skip
    # The last one empties a variable of the image, by which buildkitd's own health check asks.
    assert made["Env"] == ["HOME=/home/buildkit", "XDG_RUNTIME_DIR=/run", "BUILDKIT_HOST="]


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
    for call in ("clone", "prctl", "seccomp"):
        found = [r for r in json.loads(plan.seccomp(jobs))["syscalls"] if call in r["names"]]
        assert [rule.get("args") for rule in found] == [None], call


def test_runc_goes_on_without_keyrings() -> None:
    """It takes ENOSYS for a kernel that has none, and any other error for a failure."""
    refused = [
        r for r in json.loads(plan.seccomp('{"syscalls": []}'))["syscalls"] if "errnoRet" in r
    ]
    assert [(rule["errnoRet"], set(rule["names"])) for rule in refused] == [
        (errno.ENOSYS, {"add_key", "keyctl", "request_key"})
    ]


def test_a_mapping_has_the_users_of_one_slot() -> None:
    assert plan.mapping(USERS_OF_SLOT) == b"0 1879048192 65536\n"


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
    assert oci["snapshotter"] == "overlayfs"
    assert [(one["maxUsedSpace"], one["all"]) for one in oci.get("gcpolicy", [])] == [
        (bound, True) for bound in policies
    ]


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
