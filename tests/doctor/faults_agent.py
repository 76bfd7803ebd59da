"""Faults of the agent, of the launcher and of the service."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.doctor.faults import WARN, Fault, absent, cfg, changed, file, mode
from tests.doctor.hosts import Host


def _launcher(host: Host) -> Path:
    return host.place / "airlock-launcher"


def _hook(host: Host) -> Path:
    return host.place / "hooks/pre-bootstrap"


@contextmanager
def _hook_of_somebody(host: Host) -> Iterator[None]:
    os.chown(_hook(host), 1234, 1234)
    try:
        yield
    finally:
        os.chown(_hook(host), 0, 0)


@contextmanager
def _stopped(host: Host) -> Iterator[None]:
    host.serving.stop()
    try:
        yield
    finally:
        host.serving.start()


@contextmanager
def _unreadable_hooks(host: Host) -> Iterator[None]:
    with (
        changed(lambda host: host.change(r"\[sandbox\]\n", "[sandbox]\nhooks = true\n"))(host),
        mode(lambda host: host.place / "hooks", 0o750)(host),
    ):
        yield


def _without_script(host: Host) -> None:
    lines = host.cfg.read_text().splitlines()
    kept = [line for line in lines if not line.startswith("bootstrap-script")]
    host.cfg.write_text("\n".join(kept) + "\n")


AGENT = (
    Fault(
        name="everybody may read the registration token", plant=mode(lambda host: host.cfg, 0o644),
        check="agent-config", seen="everybody may read or write", fix="chmod o-rwx",
    ),
    Fault(
        name="the agent's configuration is elsewhere", plant=absent(lambda host: host.cfg),
        check="agent-config", seen="there is no buildkite-agent.cfg", fix="--agent-config",
    ),
    Fault(
        name="the agent runs jobs itself", plant=changed(_without_script),
        check="bootstrap-script", seen="outside of any sandbox",
        fix='bootstrap-script="/usr/libexec/airlock-launcher"',
        also=frozenset({"launcher", "service"}),  # it is not in its usual place here
    ),
    Fault(
        name="the agent starts something else",
        plant=cfg('bootstrap-script="/usr/bin/docker-bootstrap"'),
        check="bootstrap-script", seen="which is not Airlock's",
        fix='bootstrap-script="/usr/libexec/airlock-launcher"',
        also=frozenset({"launcher", "service"}),
    ),
    Fault(
        name="everybody may replace the launcher", plant=mode(_launcher, 0o777),
        check="launcher", seen="others may replace it", fix="chmod go-w",
    ),
    Fault(
        name="the launcher is of another version",
        plant=file(_launcher, "#!/bin/sh\necho airlock-launcher 0.0.1\n", 0o755),
        check="launcher", status=WARN, seen="it is of version 0.0.1",
        fix="install -D -m 0755 /opt/airlock/bin/airlock-launcher", also=frozenset({"service"}),
    ),
    Fault(
        name="there is no pre-bootstrap hook", plant=absent(_hook),
        check="pre-bootstrap", status=WARN, seen="there is none",
        fix="agent-config/hooks/pre-bootstrap",
    ),
    Fault(
        name="the hook cannot be run", plant=mode(_hook, 0o644),
        check="pre-bootstrap", seen="the agent cannot run it", fix="install -D -m 0755",
    ),
    Fault(
        name="somebody may replace the hook", plant=_hook_of_somebody,
        check="pre-bootstrap", seen="belongs to uid 1234", fix="chown root:root",
    ),
    Fault(
        name="the hook does something else", plant=file(_hook, "#!/bin/sh\ntrue\n", 0o755),
        check="pre-bootstrap", status=WARN, seen="does not run `airlock-launcher admit`",
        fix="exec /usr/libexec/airlock-launcher admit",
    ),
    Fault(
        name="sudo has a rule for the agent's user",
        plant=file(lambda host: host.place / "sudoers.d/agent",
                   "buildkite-agent ALL=NOPASSWD: /usr/bin/fix\n", 0o440),
        check="agent-user", seen="sudo has rules for it", fix="rm ",
    ),
    Fault(
        name="the agent prints tokens", plant=cfg("debug-http=true"),
        check="agent-settings", status=WARN, seen="debug-http prints tokens",
        fix="debug-http=false",
    ),
    Fault(
        name="somebody relies on mirrors of others", plant=cfg("git-mirrors-skip-update=true"),
        check="ignored-settings", status=WARN, seen="git-mirrors-skip-update: nothing else",
        fix="git-mirrors-path alone",
    ),
    Fault(
        name="somebody relies on tracing", plant=cfg("tracing-backend=opentelemetry"),
        check="ignored-settings", status=WARN, seen="names a collector",
        fix="Leave them out",
    ),
    Fault(
        name="somebody relies on a signing key", plant=cfg("signing-jwks-file=/etc/key.json"),
        check="ignored-settings", status=WARN, seen="the key is not in sandboxes",
        fix="Leave them out",
    ),
    Fault(
        name="somebody relies on a hook of the agent",
        plant=file(lambda host: host.place / "hooks/environment", "#!/bin/sh\n", 0o755),
        check="hooks", status=WARN, seen="hooks that no job runs: environment",
        fix="Replace them by grants",
    ),
    Fault(
        name="jobs cannot read the agent's hooks", plant=_unreadable_hooks,
        check="hooks", seen="which jobs cannot use", fix="chmod o+rx",
    ),
    Fault(
        name="jobs have no time for their hooks", plant=cfg("cancel-grace-period=4"),
        check="cancel-grace", status=WARN, seen="3 s from the cancel signal",
        fix="cancel-grace-period=10",
    ),
    Fault(
        name="the signal comes after the end", plant=cfg("signal-grace-period-seconds=20"),
        check="cancel-grace", seen="BUILDKITE_SIGNAL_GRACE_PERIOD_SECONDS is '20'",
        fix="buildkite-agent.cfg",
    ),
    Fault(
        name="there are more agents than slots", plant=cfg("spawn=9"),
        check="spawn", status=WARN, seen="9 agents, and 8 jobs may run at once",
        fix="Raise sandbox.slots",
    ),
    Fault(
        name="the service does not run", plant=_stopped,
        check="service", seen="a launcher of buildkite-agent ended with 125",
        fix="journalctl -u airlock",
    ),
)  # fmt: skip
