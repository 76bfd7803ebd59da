"""Checks over values: what the lab cannot plant, and what every check has to do."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootstrap.doctor.checks import CHECKS, NAMES, findings
from bootstrap.doctor.model import Failed, Stage, Status, Unread
from bootstrap.doctor.snapshot import File, Mount, Snapshot
from bootstrap.host import config
from bootstrap.host.builds_settings import Builds
from tests.doctor.given import DISK, ENGINE, GOOD, MACHINE, NETWORK, UNITS, found, host

WARN, FAIL, OK = Status.WARN, Status.FAIL, Status.OK


def test_every_check_is_ok_on_a_good_host() -> None:
    wrong = [one for one in findings(GOOD) if one.status is not OK]
    assert wrong == []


def test_names_are_unique_and_words() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert [name for name in NAMES if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)] == []


@pytest.mark.parametrize("check", CHECKS, ids=NAMES)
def test_check_says_what_has_to_hold_and_why(check: Any) -> None:
    assert len(check.what) > 20
    assert not check.what.endswith(".")
    assert check.why.endswith(".")


def machine(**changes: Any) -> Snapshot:
    return replace(GOOD, machine=replace(MACHINE, **changes))


def settings(**values: int) -> Snapshot:
    names = {name.replace("__", "/"): value for name, value in values.items()}
    return machine(settings={**MACHINE.settings, **names})


def engine(**changes: Any) -> Snapshot:
    return replace(GOOD, engine=replace(ENGINE, **changes))


def network(**changes: Any) -> Snapshot:
    return replace(GOOD, network=replace(NETWORK, **changes))


def storage(**changes: Any) -> Snapshot:
    return replace(GOOD, storage=replace(GOOD.storage, **changes))


def unit(name: str, **properties: str) -> Snapshot:
    others = {**UNITS.properties, name: {**UNITS.of(name), **properties}}
    return replace(GOOD, units=replace(UNITS, properties=others))


def without(name: str) -> Snapshot:
    others = {other: found for other, found in UNITS.properties.items() if other != name}
    return replace(GOOD, units=replace(UNITS, properties=others))


def configured(**sections: Any) -> Snapshot:
    return replace(GOOD, host=host(**sections))


BUILDKIT = f"registry.example.com/ci/buildkit@sha256:{'1' * 64}"
BUILDS = Builds(image=BUILDKIT)


def on_ubuntu(**sections: Any) -> Snapshot:
    restricted = settings(kernel__apparmor_restrict_unprivileged_userns=1)
    return replace(restricted, host=host(**sections), builder_image="sha256:1")


def by_tag() -> Snapshot:
    tagged = configured(builds=Builds(image="registry.example.com/ci/buildkit:1"))
    return replace(tagged, builder_image="sha256:1")


FAULTS: tuple[tuple[str, Snapshot, str, Status, str, str], ...] = (
    ("not root", machine(uid=1000), "root", FAIL, "uid 1000", "sudo airlock doctor"),
    ("old Python", machine(python=(3, 9, 20)), "python", FAIL, "3.9.20", "python3.11 -m venv"),
    ("old kernel", machine(kernel="5.4.281"), "kernel", FAIL, "Linux 5.4.281", "5.9 or newer"),
    ("no nft", machine(missing_programs={"nft": "nftables"}), "programs", FAIL, "nft",
     "Install nftables"),
    ("no ssh-agent", machine(missing_programs={"ssh-agent": "openssh-client"}), "programs", WARN,
     "ssh-agent", "Install openssh-client"),
    ("no user namespaces", settings(user__max_user_namespaces=0), "user-namespaces", WARN,
     "is 0", "sysctl -w user.max_user_namespaces"),
    ("a kernel that refuses builds", on_ubuntu(builds=BUILDS), "user-namespaces", FAIL,
     "kernel.apparmor_restrict_unprivileged_userns is 1: jobs whose rule has builds end with 78",
     "`sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`"),
    ("no image of BuildKit", replace(configured(builds=BUILDS), builder_image=None),
     "builder-image", WARN, f"{BUILDKIT} is not on this host", f"docker pull {BUILDKIT}"),
    ("an image of BuildKit by its tag", by_tag(), "builder-image", WARN, "named by a tag",
     "Name its digest in builds.image"),
    ("small connection table", settings(net__netfilter__nf_conntrack_max=8192), "connections",
     WARN, "8192 entries, expected 15000", "nf_conntrack_max=262144"),
    ("few processes", settings(kernel__pid_max=32_768), "machine-limits", WARN,
     "kernel.pid_max is 32768", "sysctl -w kernel.pid_max=262144"),
    ("AppArmor is not used", machine(has_apparmor=True), "apparmor", WARN,
     "Docker does not use it", "package apparmor"),
    ("old engine", engine(version="19.03.15", api="1.40"), "engine", FAIL, "19.03.15",
     "20.10 or newer"),
    ("no seccomp", engine(security=frozenset()), "seccomp", FAIL, "does not list seccomp",
     "CONFIG_SECCOMP_FILTER"),
    ("SELinux labels", engine(security=frozenset({"seccomp", "selinux"})), "selinux", FAIL,
     "selinux-enabled", '"selinux-enabled": false'),
    ("registry without TLS", engine(insecure_registries=("r.example",)), "dockerd-options", WARN,
     "r.example", "insecure-registries"),
    ("no memory limit", engine(lacks=("MemoryLimit",)), "limits", FAIL, "MemoryLimit",
     "cgroup_enable=memory"),
    ("runc of 2024", engine(components={"runc": "1.2.4"}), "runc-cves", FAIL, "CVE-2025-31133",
     "1.2.8, 1.3.3, 1.4.0"),
    ("Debian's runc", engine(components={"runc": "1.1.5+ds1"}), "runc-cves", WARN,
     "a distribution's", "apt-get upgrade"),
    ("containerd", engine(components={"containerd": "1.7.20"}), "containerd-cves", FAIL,
     "CVE-2024-25621", "1.7.29, 2.0.7, 2.1.5"),
    ("old patch of the engine", engine(version="20.10.7"), "engine-cves", WARN,
     "CVE-2022-24769", "20.10.14"),
    ("Dirty Frag", machine(kernel="6.1.140"), "kernel-cves", FAIL, "CVE-2026-43284", "reboot"),
    ("Ubuntu's kernel", machine(kernel="5.15.160", release="5.15.0-119-generic"), "kernel-cves",
     WARN, "CVE-2026-43284", "reboot"),
    ("four resolvers", network(resolv_conf="nameserver 10.0.0.2\n" * 4), "resolvers", WARN,
     "4 resolvers", "sandbox.dns"),
    ("nft rejects the ruleset", network(ruleset=Failed(problem="rejects it", fix="nft -f")),
     "nftables", FAIL, "rejects it", "nft -f"),
    ("an old subnet", network(docker_network=("198.18.0.0/20",)), "docker-network", WARN,
     "expected 198.18.240.0/20", "Let the jobs of this host end"),
    ("STS without TLS", configured(aws=config.Aws(sts_endpoint="http://10.0.0.9")), "settings",
     WARN, "aws.sts-endpoint is not https", 'sts-endpoint = "https://…"'),
    ("the agent's own token", configured(policy=config.Policy(agent_tokens="any")), "settings",
     WARN, "policy.agent-tokens is any", 'agent-tokens = "job"'),
    ("runtime is read-only", machine(mounts=(
        Mount(path=Path("/run/airlock"), kind="tmpfs", options=frozenset({"ro"})),)),
     "runtime-mount", FAIL, "mounted read-only", "Set paths.runtime"),
    ("small disk", storage(state=replace(DISK, size=100 << 30)), "budgets", WARN,
     "the disk of /var/lib/airlock has 100.0 GiB", 'workspaces-size = "79GiB"'),
    ("no space for images", storage(images=replace(DISK, free=1 << 30)), "image-disk", WARN,
     "1.0 GiB are free", "docker image prune"),
    ("no socket", without("airlock.socket"), "units", FAIL, "airlock.socket is not installed",
     "agent-config/systemd"),
    ("masked service", unit("airlock.service", LoadState="masked"), "units", FAIL,
     "airlock.service is masked", "systemctl unmask airlock.service"),
    ("socket is not enabled", unit("airlock.socket", UnitFileState="disabled"), "units", FAIL,
     "airlock.socket is disabled", "systemctl enable --now"),
    ("changed unit", unit("airlock.service", NeedDaemonReload="yes"), "units", WARN,
     "was changed since", "daemon-reload"),
    ("service of another version", unit("airlock.service", StatusText="version 0.0.1, 2 workers"),
     "service", WARN, "version 0.0.1 runs", "systemctl reload airlock"),
    ("firewall's unit is masked", unit("airlock-firewall.service", LoadState="masked"),
     "firewall-unit", FAIL, "is masked", "systemctl unmask"),
    ("firewall's unit is disabled", unit(
        "airlock-firewall.service", LoadState="loaded", UnitFileState="disabled"),
     "firewall-unit", FAIL, "is disabled", "systemctl enable --now"),
    ("firewall's unit has failed", unit(
        "airlock-firewall.service", LoadState="loaded", ActiveState="failed"),
     "firewall-unit", FAIL, "has failed", "journalctl -u airlock-firewall.service"),
    ("Docker does not wait for the firewall", unit("airlock-firewall.service", LoadState="loaded"),
     "firewall-unit", FAIL, "docker.service, buildkite-agent.service would start without",
     "BindsTo=airlock-firewall.service"),
    ("no unit of the agent", without("buildkite-agent.service"), "unit-order", WARN,
     "no unit of buildkite-agent", "agent's package"),
    ("another runtime", replace(
        engine(runtimes=frozenset({"runc", "crun"})),
        host=host(sandbox=config.Sandbox(image="job@sha256:0", runtime="crun"))), "runtime", WARN,
     "only runc is tested", 'runtime = "runc"'),
)  # fmt: skip


# What else is wrong on such a host.
ALSO = {
    "kernel": {"kernel-cves"}, "engine": {"engine-cves"}, "settings": {"guardrails"},
    "units": {"service-unit", "unit-order"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("snapshot", "check", "status", "seen", "fix"),
    [fault[1:] for fault in FAULTS],
    ids=[fault[0] for fault in FAULTS],
)
def test_fault_is_found_named_and_given_its_fix(
    snapshot: Snapshot, check: str, status: Status, seen: str, fix: str
) -> None:
    finding = found(snapshot, check)
    assert finding.status is status
    assert seen in finding.seen
    assert fix in finding.fix
    wrong = {one.check for one in findings(snapshot) if one.status in {WARN, FAIL}}
    assert wrong - {check} <= ALSO.get(check, set())


def test_fix_that_a_change_log_names_is_believed() -> None:
    """Distributions fix a vulnerability without the number of the version that does."""
    cves = frozenset({"CVE-2025-31133", "CVE-2025-52565", "CVE-2025-52881"})
    components = {"runc": "1.1.5+ds1"}
    logs = {"runc": cves | {"CVE-2024-21626"}}
    patched = replace(engine(components=components), machine=replace(MACHINE, changelogs=logs))
    assert found(patched, "runc-cves").status is OK


def test_what_depends_on_a_broken_configuration_is_unknown() -> None:
    """One mistake is one failure, and not forty."""
    broken = replace(GOOD, host=Failed(problem="has 1 mistake", fix="correct it"))
    statuses = {one.check: one.status for one in findings(broken)}
    assert [name for name, status in statuses.items() if status is FAIL] == ["configuration"]
    assert list(statuses.values()).count(Status.UNKNOWN) > 10


@pytest.mark.parametrize("field", ["host", "engine", "units", "trial", "policies", "metadata"])
def test_what_could_not_be_read_is_unknown_and_says_why(field: str) -> None:
    values: dict[str, Any] = {field: Unread(why="a reason", fix="a way")}
    unread = replace(GOOD, **values)
    unknown = [one for one in findings(unread) if one.status is Status.UNKNOWN]
    assert unknown
    assert all("a reason" in one.seen and one.fix == "a way" for one in unknown)
    assert {one.status for one in findings(unread)} == {OK, Status.UNKNOWN}


@pytest.mark.parametrize("stage", [Stage.IMAGE, Stage.START])
def test_ruleset_need_not_be_loaded_before_the_service_starts(stage: Stage) -> None:
    empty = replace(network(loaded="", has_bridge=False, docker_network=None), stage=stage)
    assert {one.status for one in findings(empty)} == {OK}
    running = replace(empty, stage=Stage.RUN)
    assert found(running, "ruleset").status is FAIL


def test_hosts_without_builds_may_restrict_the_namespaces_that_only_builds_need() -> None:
    assert found(on_ubuntu(), "user-namespaces").status is OK
    there = replace(configured(builds=BUILDS), builder_image="sha256:1")
    assert found(there, "builder-image").seen == BUILDKIT


def test_check_that_is_skipped_is_not_made() -> None:
    assert "kernel" not in {one.check for one in findings(GOOD, skip=frozenset({"kernel"}))}


def test_check_that_has_a_bug_keeps_no_other_from_its_turn() -> None:
    values: dict[str, Any] = {"storage": None}
    broken = findings(replace(GOOD, **values))
    assert len(broken) == len(NAMES)
    assert found(replace(GOOD, **values), "disk").seen == "a bug of Airlock: AttributeError"


def test_agents_own_user_may_replace_what_the_agent_starts() -> None:
    """Its package gives it /etc/buildkite-agent, and it decides what it starts anyway."""
    hook = File(path=Path("/etc/buildkite-agent/hooks/pre-bootstrap"), uid=0, mode=0o755,
                above=((Path("/etc/buildkite-agent"), 2000, 0o755),))  # fmt: skip
    agent = replace(GOOD.agent, hook=hook)
    assert found(replace(GOOD, agent=agent), "pre-bootstrap").status is OK
    others = replace(agent, users=())
    assert found(replace(GOOD, agent=others), "pre-bootstrap").status is FAIL
