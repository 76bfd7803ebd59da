"""Faults of the configuration, of Docker, of disks and of the image."""

import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.doctor.faults import (
    TRIAL,
    WARN,
    Fault,
    Plant,
    changed,
    file,
    mode,
    mounted,
    run,
    toml,
)
from tests.doctor.hosts import Host
from tests.lab.engine import OURS

_ABSENT = f"absent@sha256:{'0' * 64}"
_DOCKER = ("docker", "-H", f"unix://{OURS}")


def daemon(text: str) -> Plant:
    return file(lambda host: host.places.daemon_json, text)


def account(name: str, pattern: str, replacement: str) -> Plant:
    """Change a line of /etc/passwd or /etc/group, which are copies in the lab."""

    @contextmanager
    def plant(_: Host) -> Iterator[None]:
        path = Path("/etc", name)
        text = path.read_text()
        new, number = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        assert number, pattern
        path.write_text(new)
        try:
            yield
        finally:
            path.write_text(text)

    return plant


@contextmanager
def _open_socket(_: Host) -> Iterator[None]:
    before = stat.S_IMODE(OURS.stat().st_mode)
    OURS.chmod(0o666)
    try:
        yield
    finally:
        OURS.chmod(before)


def image_without(program: str) -> Plant:
    """Name an image of jobs that lacks a program."""

    @contextmanager
    def plant(host: Host) -> Iterator[None]:
        container = run(*_DOCKER, "create", "--network", "none", host.fleet.lab.image,
                        "rm", f"/usr/bin/{program}").strip()  # fmt: skip
        run(*_DOCKER, "start", "--attach", container)
        image = run(*_DOCKER, "commit", container).strip()
        try:
            with toml(r'image = "sha256:\w+"', f'image = "{image}"')(host):
                yield
        finally:
            run(*_DOCKER, "rm", container)
            run(*_DOCKER, "rmi", image)

    return plant


CONFIGURATION = (
    Fault(
        name="a setting is misspelt", plant=toml(r'memory = "2GiB"', 'memroy = "2GiB"'),
        check="configuration", seen="has 1 mistake", fix="agent-config/airlock.toml",
    ),
    Fault(
        name="everybody may write airlock.toml", plant=mode(lambda host: host.fleet.config, 0o666),
        check="configuration", seen="with mode 0666; expected root, 0644", fix="chmod go-w",
    ),
    Fault(
        name="a user of service.agents does not exist",
        plant=toml(r'agents = \["buildkite-agent"\]', 'agents = ["nobody-here"]'),
        check="service-users", seen="'nobody-here', and this host has no such user",
        fix="List the users that the agents of this host run as", also=frozenset({"service"}),
    ),
    Fault(
        name="refusals are only recorded",
        plant=toml(r"\[policy\]\n", '[policy]\nmode = "observe"\n'),
        check="settings", status=WARN, seen="policy.mode is observe", fix='mode = "enforce"',
    ),
    Fault(
        name="there are no guardrails", plant=toml(r"guardrails = .*\n", ""),
        check="guardrails", status=WARN, seen="none", fix="policy.guardrails",
        also=frozenset({"policies"}),
    ),
    Fault(
        name="a policy has a mistake",
        plant=file(lambda host: host.fleet.base / "policies/other.yaml", "pipeline: other\n"),
        check="policies", seen="other.yaml", fix="airlock policy lint",
    ),
    Fault(
        name="everybody may write policies",
        plant=mode(lambda host: host.fleet.base / "policies", 0o777),
        check="policies", seen="0777", fix="airlock policy lint",
    ),
    Fault(
        name="an account has the number of a job",
        plant=account("passwd", r"\Z", "someone:x:61003:61003::/:/bin/sh\n"),
        check="job-uids", seen="the user someone of this host has the number 61003",
        fix="Set sandbox.first-uid", also=TRIAL,
    ),
)  # fmt: skip
ENGINE = (
    Fault(
        name="daemon.json is not JSON", plant=daemon('{"hosts": ['),
        check="dockerd-options", seen="is not JSON", fix="dockerd --validate --config-file",
    ),
    Fault(
        name="dockerd listens without TLS", plant=daemon('{"hosts": ["tcp://0.0.0.0:2375"]}'),
        check="dockerd-options", seen="tcp://0.0.0.0:2375 without TLS",
        fix='remove "tcp://0.0.0.0:2375" from hosts',
    ),
    Fault(
        name="dockerd sets no rules for containers", plant=daemon('{"iptables": false}'),
        check="dockerd-options", seen="iptables is false", fix='"iptables": true',
    ),
    Fault(
        name="dockerd labels containers", plant=daemon('{"selinux-enabled": true}'),
        check="dockerd-options", seen="selinux-enabled is true", fix='"selinux-enabled": false',
    ),
    Fault(
        name="everybody may use Docker", plant=_open_socket,
        check="docker-socket", seen="everybody may use Docker's socket", fix="chmod o-rw",
    ),
    Fault(
        name="the agent's user may use Docker",
        plant=account("group", r"^(docker:x:\d+:).*$", r"\1buildkite-agent"),
        check="agent-user", seen="buildkite-agent is in the group docker",
        fix="gpasswd --delete buildkite-agent docker", also=frozenset({"docker-socket"}),
    ),
    Fault(
        name="the runtime does not confine",
        plant=toml(r"\[sandbox\]\n", '[sandbox]\nruntime = "without-seccomp"\n'),
        check="isolation", seen="the container is not confined", fix="as runc and crun do",
        also=frozenset({"runtime"}),
    ),
    Fault(
        name="there is no such runtime",
        plant=toml(r"\[sandbox\]\n", '[sandbox]\nruntime = "kata"\n'),
        check="runtime", seen="sandbox.runtime is kata", fix='runtime = "runc"', also=TRIAL,
    ),
)  # fmt: skip
STORAGE = (
    Fault(
        name="checkouts are on noexec", plant=mounted("state", "size=4g,noexec"),
        check="state-mount", seen="mounted noexec", fix="mount -o remount,exec,rw",
    ),
    Fault(
        name="checkouts are in memory", plant=mounted("state", "size=4g"),
        check="state-mount", status=WARN, seen="is in memory (tmpfs)", fix="directory on a disk",
    ),
    Fault(
        name="the disk is too full for a job", plant=mounted("state", "size=600m"),
        check="disk", seen="MiB are free, expected 1024 MiB or more", fix="airlock gc",
        also=frozenset({"state-mount", "budgets"}),
    ),
    Fault(
        name="the audit trail is on a read-only disk",
        plant=mounted("records", "ro", then="touch records.jsonl"),
        check="records", seen="Read-only file system", fix="paths.records",
        also=frozenset({"service"}),
    ),
    Fault(
        name="the audit trail's disk is full",
        plant=mounted("records", "size=512m", then="head -c 512m /dev/zero >full || true"),
        check="records", seen="No space left on device", fix="whether the disk is full",
    ),
    Fault(
        name="the filesystem of job directories is full",
        plant=mounted("runtime", "size=20m"),
        check="runtime-space", seen="MiB are free at", fix="airlock gc",
    ),
)  # fmt: skip
IMAGE = (
    Fault(
        name="the image is not here", plant=toml(r'image = ".*"', f'image = "{_ABSENT}"'),
        check="image", status=WARN, seen="the first job waits for it", fix="docker pull",
    ),
    Fault(
        name="the image is not here and is never pulled",
        plant=toml(r'image = ".*"', f'image = "{_ABSENT}"\npull = "never"'),
        check="image", seen="and sandbox.pull is never", fix="docker pull",
    ),
    Fault(
        name="the image is named by a tag",
        plant=changed(
            lambda host: host.change(r'image = ".*"', f'image = "{host.fleet.lab.image}"')
        ),
        check="image", status=WARN, seen="is named by a tag", fix="Name its digest",
    ),
    Fault(
        name="the image has no git", plant=image_without("git"),
        check="image-contents", seen="lacks git", fix="git, openssh-client and ca-certificates",
    ),
    Fault(
        name="the image has no ssh", plant=image_without("ssh"),
        check="image-contents", status=WARN, seen="lacks ssh", fix="openssh-client",
    ),
)  # fmt: skip
