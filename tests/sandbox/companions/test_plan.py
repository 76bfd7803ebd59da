"""The configuration of a service container: a job's, and what differs from it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.host.config import Sandbox
from bootstrap.policy.model import Grant
from bootstrap.policy.services import ServiceContainer
from bootstrap.sandbox.companions.plan import (
    Companion,
    body_of,
    described,
    directory_of,
    group,
    hosts,
    passwd,
    spec_of,
)
from bootstrap.sandbox.plan import joined_body
from tests.sandbox.companions.given import companion
from tests.sandbox.test_plan import spec_of as jobs_spec

DIRECTORY = Path("/run/airlock/jobs/t-1/service-db")
IMAGE = "ci/db:1"


def body(one: Companion) -> dict[str, Any]:
    spec = spec_of(one, Sandbox(image="job"), token="t-1", uid=61007, directory=DIRECTORY)
    return body_of(one, spec, "{profile}", "docker-default", job="c0ffee")


def test_it_is_locked_down_as_a_job_is() -> None:
    """Of all that a job's container has, only these differ: what is new in a job is here too."""
    jobs = joined_body(jobs_spec(), "{profile}", "docker-default", "c0ffee")
    ours = body(companion())
    assert set(jobs) - set(ours) == {"Entrypoint", "Cmd", "WorkingDir"}
    assert {key for key in ours if ours[key] != jobs.get(key)} == {"Labels", "Env", "HostConfig"}
    theirs, host = jobs["HostConfig"], ours["HostConfig"]
    assert set(theirs) == set(host)
    assert {key for key in host if host[key] != theirs[key]} == {
        "CpuShares", "Memory", "MemorySwap", "CpuQuota", "PidsLimit", "OomScoreAdj", "ShmSize",
        "Mounts", "Tmpfs",
    }  # fmt: skip
    assert host["NetworkMode"] == "container:c0ffee"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["OomScoreAdj"] > theirs["OomScoreAdj"]
    assert ours["User"] == "61007:61007"


def test_of_the_host_it_sees_four_files() -> None:
    mounts = body(companion())["HostConfig"]["Mounts"]
    assert {mount["Source"]: mount["Target"] for mount in mounts} == {
        str(DIRECTORY / name): f"/etc/{name}"
        for name in ("passwd", "group", "hosts", "resolv.conf")
    }
    assert all(mount["ReadOnly"] and mount["Type"] == "bind" for mount in mounts)


def test_what_it_writes_to_is_in_memory_and_bounded() -> None:
    service = ServiceContainer(image=IMAGE, tmpfs=("/var/run/db", "/data"), memory=1 << 30)
    host = body(companion(service, "/var/lib/db", "/data/"))["HostConfig"]
    assert list(host["Tmpfs"]) == [
        "/run", "/tmp", "/var/tmp", "/var/lib/db", "/data", "/var/run/db"
    ]  # fmt: skip
    for path, options in host["Tmpfs"].items():
        mode = "1777" if path in ("/tmp", "/var/tmp") else "0755"
        own = f"uid=61007,gid=61007,mode={mode},size={1 << 29}"
        assert options == f"rw,exec,nosuid,nodev,{own}"


@pytest.mark.parametrize(("memory", "shared"), [(64 << 20, 32 << 20), (4 << 30, 256 << 20)])
def test_shared_memory_is_what_postgresql_needs_if_it_has_that(memory: int, shared: int) -> None:
    host = body(companion(ServiceContainer(image=IMAGE, memory=memory)))["HostConfig"]
    assert host["ShmSize"] == shared


def test_limits_command_and_environment_are_the_rules() -> None:
    service = ServiceContainer(
        image=IMAGE, memory=64 << 20, cpus=0.5, pids=64, command=("serve", ""), env={"A": "b=c"}
    )
    made = body(companion(service))
    host = made["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["PidsLimit"]) == (64 << 20, 64 << 20, 64)
    assert host["CpuQuota"] == 50_000
    assert made["Cmd"] == ["serve", ""]
    assert made["Env"] == ["A=b=c"]
    assert "Entrypoint" not in made


def test_its_names_say_whose_it_is() -> None:
    spec = spec_of(companion(), Sandbox(image="job"), token="t-1", uid=61007, directory=DIRECTORY)
    assert spec.name == "airlock-service-t-1.db"
    assert spec.labels == {"airlock.job": "t-1", "airlock.service": "db"}
    assert directory_of(DIRECTORY.parent, "db") == DIRECTORY


@pytest.mark.parametrize("user", ["postgres", "root", "nobody", "nogroup"])
def test_its_user_has_one_name_and_one_number(user: str) -> None:
    lines = [line.split(":") for line in passwd(user, 61007).decode().splitlines()]
    assert [line[2:4] for line in lines if line[0] == user] == [["61007", "61007"]]
    assert len({line[0] for line in lines}) == len(lines)
    groups = [line.split(":") for line in group(user, 61007).decode().splitlines()]
    assert [line[2] for line in groups if line[0] == user] == ["61007"]


def test_names_lead_to_the_loopback() -> None:
    lines = [line.split() for line in hosts(["postgres", "search-1"]).decode().splitlines()]
    assert lines == [
        ["127.0.0.1", "localhost"],
        ["::1", "localhost", "ip6-localhost", "ip6-loopback"],
        ["127.0.0.1", "postgres", "search-1"],
        ["127.0.1.1", "airlock"],
    ]


def test_a_job_sees_the_names_of_its_services_and_another_does_not() -> None:
    def targets(grant: Grant) -> set[Path]:
        return {mount.target for mount in jobs_spec(grant=grant).mounts}

    services = {"db": ServiceContainer(image=IMAGE)}
    assert targets(Grant(services=services)) - targets(Grant()) == {Path("/etc/hosts")}


def test_a_record_has_its_image_and_limits_and_no_environment() -> None:
    service = ServiceContainer(image=IMAGE, env={"A": "value"}, memory=1 << 29, cpus=0.5, pids=64)
    one = companion(service)
    pinned = replace(one, image=replace(one.image, digests=("ci/db@sha256:def",)))
    assert described(pinned) == {
        "image": "sha256:abc", "reference": IMAGE, "digests": ["ci/db@sha256:def"],
        "memory": 1 << 29, "cpus": 0.5, "pids": 64,
    }  # fmt: skip


@given(st.text(max_size=30), st.text("/ab.", max_size=20))
def test_no_environment_and_no_volume_of_an_image_reaches_the_host(value: str, volume: str) -> None:
    made = body(companion(ServiceContainer(image=IMAGE, env={"A": value}), f"/{volume}"))
    assert {mount["Type"] for mount in made["HostConfig"]["Mounts"]} == {"bind"}
    assert made["HostConfig"]["Privileged"] is False
    assert made["Env"] == [f"A={value}"]
