"""What whoever controls a build tries: each probe prints its name if it succeeds.

They run in a step of a Dockerfile, in the builder's container as if BuildKit had been taken over,
and in a container as the host's Docker socket would give it, where all succeed. Nothing is written:
what can be opened for writing is enough.
"""

from pathlib import Path

from tests.lab import builder
from tests.lab.lab import Lab

PROBES = {
    "core-pattern": ": >> /proc/sys/kernel/core_pattern",
    "panic": ": >> /proc/sys/kernel/panic",
    "caches": ": >> /proc/sys/vm/drop_caches",
    "forwarding": ": >> /proc/sys/net/ipv4/ip_forward",
    "addresses": ": >> /proc/sys/kernel/randomize_va_space",
    "devices": "mknod $T/disk b $DISK",
    "fuse": "[ -c /dev/fuse ] && : <> /dev/fuse",
    "tun": "[ -c /dev/net/tun ] && : <> /dev/net/tun",
    "cgroups": "mkdir $T/cg && { mount -t cgroup -o pids x $T/cg || mount -t cgroup2 x $T/cg; }",
    "sysfs": "find /sys -maxdepth 4 -type f -writable | grep -q .",
    "links": "ip link add airlockprobe type bridge && ip link del airlockprobe",
    "routes": "ip route add 192.0.2.7/32 dev lo && ip route del 192.0.2.7/32 dev lo",
    "namespaces": "nsenter -t $HOST -m -n true",
    "processes": "cat /proc/[0-9]*/environ | grep -q BUILDKITE_AGENT_ACCESS_TOKEN",
    "engine": "ls /run/docker.sock /run/airlock-lab/docker.sock | grep -q sock",
    "files": "ls /host/etc/shadow",
    "state": "ls /host/$STATE",
    "metadata": "exec 3<>/dev/tcp/169.254.169.254/80",
    "host": "exec 3<>/dev/tcp/127.0.0.1/$PORT",
    "token": "env | grep -q BUILDKITE_AGENT_ACCESS_TOKEN",
}
PROGRAMS = "bash sh cat head grep find ls mkdir mknod mount ip nsenter unshare timeout env id true"
# What a fake buildkitd does: it runs every script that the test puts into its cache.
_TAKEN_OVER = """#!/bin/bash
cd /var/lib/buildkit
while sleep 0.1; do
  for script in *.script; do
    [ -e "$script" ] || continue
    mv "$script" taken
    bash taken >out 2>&1 </dev/null
    mv out "${script%.script}.out"
  done
done
"""


def probes(variables: dict[str, str]) -> str:
    """Return a script that prints "GOT name" for each probe that succeeds."""
    lines = [f"export {name}='{value}'" for name, value in variables.items()]
    lines += ["mkdir -p /tmp/probes; export T=/tmp/probes"]
    for name, attempt in PROBES.items():
        lines += [f"timeout 5 bash -c '{attempt}' >/dev/null 2>&1 && echo GOT {name}"]
    return "\n".join([*lines, "echo tried"])


def got(output: str) -> set[str]:
    """Return the names of the probes that succeeded; they have to have run to the end."""
    assert "tried" in output, output
    return {line.split()[-1] for line in output.splitlines() if "GOT " in line and "&&" not in line}


def taken_over_image(lab: Lab, directory: Path) -> str:
    """Return an image of a BuildKit that is an attacker's."""
    (directory / "buildkitd").write_text(_TAKEN_OVER)
    (directory / "buildkitd").chmod(0o755)
    recipe = f"FROM {lab.image}\nUSER 0\nCOPY buildkitd /usr/local/bin/\n"
    return builder.image(lab.docker, "taken-over", recipe, directory)
