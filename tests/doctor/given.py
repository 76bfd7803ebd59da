"""A snapshot on which every check is ok, as values."""

from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from bootstrap import __version__
from bootstrap.doctor.checks import findings
from bootstrap.doctor.model import Finding, Stage
from bootstrap.doctor.snapshot import (
    Account,
    Agent,
    Aws,
    Disk,
    DockerSocket,
    Engine,
    File,
    Lookup,
    Machine,
    Metadata,
    Mount,
    Network,
    Policies,
    Snapshot,
    Storage,
    Trial,
    Units,
)
from bootstrap.forms import FileStore
from bootstrap.host import config

IMAGE = f"registry.example.com/ci/job@sha256:{'0' * 64}"
RULESET = "table inet airlock {\n\tchain refuse {\n\t}\n}\n"
DISK = Disk(path=Path("/var/lib/airlock"), size=500 << 30, free=200 << 30)
LAUNCHER = "/usr/libexec/airlock-launcher"


def host(**sections: Any) -> config.Host:
    policy = config.Policy(guardrails=FileStore(path=Path("/etc/airlock/guardrails.yaml")))
    return config.Host(**{"sandbox": config.Sandbox(image=IMAGE), "policy": policy, **sections})


def file(path: str, mode: int = 0o755) -> File:
    return File(path=Path(path), uid=0, mode=mode, above=((Path("/"), 0, 0o755),))


def unit(**properties: str) -> dict[str, str]:
    return {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled",
            "NeedDaemonReload": "no", **properties}  # fmt: skip


MACHINE = Machine(
    uid=0, python=(3, 11, 2), kernel="6.1.171", release="6.1.0-47-amd64", processors=4,
    has_apparmor=False, selinux_enforcing=False,
    settings={
        "user/max_user_namespaces": 96_000, "net/netfilter/nf_conntrack_max": 262_144,
        "net/ipv4/ip_forward": 1, "net/ipv4/neigh/default/gc_thresh3": 1024,
        "kernel/pid_max": 4_194_304, "kernel/threads-max": 500_000, "fs/file-max": 1 << 60,
    },
    mounts=(
        Mount(path=Path("/"), kind="ext4", options=frozenset({"rw", "relatime"})),
        Mount(path=Path("/run"), kind="tmpfs", options=frozenset({"rw", "nosuid", "noexec"})),
    ),
    missing_programs={}, accounts=None, changelogs={},
)  # fmt: skip
ENGINE = Engine(
    version="29.7.1", api="1.53", components={"containerd": "v2.2.5", "runc": "1.3.6"},
    security=frozenset({"seccomp", "cgroupns"}), runtimes=frozenset({"runc"}),
    insecure_registries=(), warnings=(), lacks=(), root=Path("/var/lib/docker"), options={},
    socket=DockerSocket(mode=0o660, group="docker", members=frozenset()),
)  # fmt: skip
NETWORK = Network(
    ruleset=RULESET, loaded=RULESET, missing_rules=(), has_bridge=True, bridge_ipv6=(),
    subnet=None, docker_network=("198.18.240.0/20",), resolv_conf="nameserver 10.0.0.2\n",
    networkd=None, ecs=(), led_elsewhere=(),
)  # fmt: skip
AGENT = Agent(
    settings={"bootstrap-script": LAUNCHER, "hooks-path": "/etc/buildkite-agent/hooks"},
    file=file("/etc/buildkite-agent/buildkite-agent.cfg", 0o640),
    launcher=file(LAUNCHER), launcher_version=__version__,
    hooks=("pre-bootstrap", "environment.sample"),
    hook=file("/etc/buildkite-agent/hooks/pre-bootstrap"),
    hook_text=f"#!/bin/sh\nexec {LAUNCHER} admit\n", mountable_hooks=None,
    users=(Account(name="buildkite-agent", uid=2000, groups=frozenset({"buildkite-agent"})),),
    sudoers=(),
)  # fmt: skip
UNITS = Units(
    properties={
        "airlock.socket": unit(Before="buildkite-agent.service sockets.target"),
        "airlock.service": unit(
            KillMode="process", OOMPolicy="continue", UMask="0022", PrivateTmp="no",
            StatusText=f"version {__version__}, 0 workers",
        ),
        "buildkite-agent.service": unit(KillMode="process", After="basic.target airlock.socket"),
        "docker.service": unit(),
    },
    variables={"buildkite-agent.service": frozenset({"HOME", "TMPDIR"})},
)  # fmt: skip
GOOD = Snapshot(
    stage=Stage.RUN, host=host(), machine=MACHINE, agents=None,
    policies=Policies(number=2, errors=(), warnings=0), engine=ENGINE, network=NETWORK,
    metadata=Metadata(answers_without_token=False, gives_tokens=True, passes_a_hop=False),
    aws=Aws(identity="arn:aws:sts::1:assumed-role/agents/i-0", clock=0.4, excess=()),
    agent=AGENT, units=UNITS, service="it answers buildkite-agent on /run/airlock.sock",
    storage=Storage(
        state=DISK, runtime=replace(DISK, path=Path("/run/airlock")),
        images=replace(DISK, path=Path("/var/lib/docker")), records=None,
    ),
    image="sha256:0", builder_image=None,
    trial=Trial(
        proof=("tcp://169.254.169.254:80: ECONNREFUSED",),
        contents={name: f"/usr/bin/{name}"
                  for name in ("bash", "git", "ssh", "ssh-keyscan", "ca-certificates")},
        lookups=(
            Lookup(server=IPv4Address("10.0.0.2"), name="agent.buildkite.com", answer=""),
        ),
    ),
)  # fmt: skip


def found(snapshot: Snapshot, check: str) -> Finding:
    """Return what one check finds."""
    return next(one for one in findings(snapshot) if one.check == check)
