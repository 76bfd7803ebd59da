"""Checks of buildkite-agent: what it starts, as whom, and which of its settings do not count."""

from collections.abc import Iterator, Mapping

from bootstrap import __version__
from bootstrap.buildkite.grace import grace
from bootstrap.doctor.agent_cfg import agents, is_on
from bootstrap.doctor.model import Check, Verdict, fail, known, ok, warn
from bootstrap.doctor.snapshot import Account, DockerSocket, Engine, Snapshot, Units
from bootstrap.errors import AirlockError
from bootstrap.text import counted

LEAST_GRACE = 8.0  # seconds; of 10 the agent leaves 9, and hooks inside get 6
# Hooks that agents run themselves, on the host.
_ON_HOST = frozenset({"pre-bootstrap", "agent-startup", "agent-shutdown"})
_COLLECTORS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "DD_AGENT_HOST")
_DESTINATIONS = {*_COLLECTORS, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "DD_TRACE_AGENT_URL"}
# Setting -> why it has no effect on jobs in a sandbox, and what replaces it.
IGNORED = {
    "git-mirrors-skip-update": ("nothing else updates a rule's mirrors", "git-mirrors-path alone"),
    "tracing-backend": (
        "the environment of no agent's unit names a collector",
        f"{' or '.join(_COLLECTORS)} in the agent's environment, with an address that jobs reach",
    ),
    "signing-jwks-file": (
        "the key is not in sandboxes",
        "signing-aws-kms-key, and a rule's role with kms:Sign",
    ),
    "signing-gcp-kms-key": (
        "jobs have no credentials of this host to sign with",
        "the upload of signed pipelines from elsewhere than jobs",
    ),
    "additional-hooks-paths": (
        "hooks there are not in sandboxes",
        "hooks in hooks-path with sandbox.hooks, or plugins",
    ),
}
_LAUNCHER = "/usr/libexec/airlock-launcher"


def _own(snapshot: Snapshot) -> frozenset[int]:
    """Return the uids of the agents, which decide what they start anyway: no job has them."""
    users = snapshot.agent.users
    return frozenset(user.uid for user in users) if isinstance(users, tuple) else frozenset()


def _file(snapshot: Snapshot) -> Verdict:
    found = known(snapshot.agent.file)
    if found is None:
        return fail(
            "there is no buildkite-agent.cfg",
            "Install buildkite-agent, or name its configuration: `airlock doctor --agent-config "
            "FILE`.",
        )
    if found.mode & 0o007:
        return fail(
            f"everybody may read or write {found.path} (mode {found.mode:04o}), which has the "
            "agents' registration token",
            f"`chmod o-rwx {found.path}`, and rotate the token in Buildkite.",
        )
    return ok(f"{found.path}, mode {found.mode:04o}")


def _script(snapshot: Snapshot) -> Verdict:
    script = known(snapshot.agent.settings).get("bootstrap-script", "")
    fix = f'Write bootstrap-script="{_LAUNCHER}" into buildkite-agent.cfg, and restart the agent.'
    if not script:
        return fail("no bootstrap-script: the agent runs jobs itself, outside of any sandbox", fix)
    if "airlock-launcher" in script:
        return ok(script)
    if "-m bootstrap bootstrap" in script or script.endswith("airlock bootstrap"):
        return warn(f"{script}: every job starts Airlock anew, as root", fix)
    return fail(f"bootstrap-script is {script}, which is not Airlock's", fix)


def _launcher(snapshot: Snapshot) -> Verdict:
    found = known(snapshot.agent.launcher)
    fix = f"`install -D -m 0755 /opt/airlock/bin/airlock-launcher {_LAUNCHER}`."
    if found is None:
        return fail("it is not installed", fix)
    if writers := found.writers(_own(snapshot)):
        return fail(f"others may replace it: {writers}", f"`chown root` and `chmod go-w`; {fix}")
    if found.mode & 0o555 != 0o555:
        return fail(f"its mode is {found.mode:04o}: the agent cannot start it", fix)
    version = known(snapshot.agent.launcher_version)
    if version != __version__ and "launcher" in found.path.name:
        return warn(f"it is of version {version}, Airlock of {__version__}", fix)
    return ok(f"{found.path}, version {version}")


def _hook(snapshot: Snapshot) -> Verdict:
    found = known(snapshot.agent.hook)
    hooks = known(snapshot.agent.settings).get("hooks-path") or "/etc/buildkite-agent/hooks"
    fix = f"`install -D -m 0755 -t {hooks} agent-config/hooks/pre-bootstrap`."
    if found is None:
        return warn("there is none", fix)
    if writers := found.writers(_own(snapshot)):
        return fail(
            f"others may replace it: {writers}",
            f"`chown root:root` and `chmod go-w`; {fix}",
        )
    if found.mode & 0o555 != 0o555:
        return fail(f"its mode is {found.mode:04o}: the agent cannot run it", fix)
    if "admit" not in known(snapshot.agent.hook_text):
        return warn(
            "it does not run `airlock-launcher admit`",
            "End it with `exec /usr/libexec/airlock-launcher admit`.",
        )
    return ok(str(found.path))


def _users(snapshot: Snapshot) -> Verdict:
    users = known(snapshot.agent.users)
    if rights := list(_rights(snapshot, users)):
        return fail(
            "; ".join(f"{name} is in the group {group}" for name, group in rights),
            f"`gpasswd --delete {rights[0][0]} {rights[0][1]}`, and restart the agent.",
        )
    if snapshot.agent.sudoers:
        return fail(
            f"sudo has rules for it in {', '.join(snapshot.agent.sudoers)}",
            f"`rm {' '.join(snapshot.agent.sudoers)}`: nothing of Airlock needs them.",
        )
    if any(user.uid == 0 for user in users):
        return warn(
            "the agents are root",
            "Give the agent a user of its own (User= of its unit), and name that in service.agents "
            "of airlock.toml.",
        )
    return ok(", ".join(f"{user.name} (uid {user.uid})" for user in users))


def _rights(snapshot: Snapshot, users: tuple[Account, ...]) -> Iterator[tuple[str, str]]:
    """Yield users in a group that may use Docker's socket, with the group."""
    groups = {"docker"}
    if isinstance(snapshot.engine, Engine) and isinstance(snapshot.engine.socket, DockerSocket):
        groups.add(snapshot.engine.socket.group)
    for user in users:
        yield from ((user.name, group) for group in sorted(groups & user.groups) if user.uid)


# Switches by which the agent shows or keeps what Airlock would mask.
SWITCHES = {
    "debug-http": "prints tokens into the agent's log",
    "debug-signing": "prints what it signs into the agent's log",
    "enable-job-log-tmpfile": "keeps the logs of jobs on this host",
    "write-job-logs-to-stdout": "keeps the logs of jobs in this host's journal",
}
_EXPERIMENT = "propagate-agent-config-vars"


def _dangerous(settings: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each setting that weakens what Airlock protects, and what to do about it."""
    for name, why in SWITCHES.items():
        if is_on(settings.get(name, "")):
            yield f"{name} {why}", f"{name}=false"
    if _EXPERIMENT in settings.get("experiment", ""):
        yield (
            f"the experiment {_EXPERIMENT} passes the agent's settings to jobs",
            f"leave {_EXPERIMENT} out of experiment",
        )
    if settings.get("job-log-path"):
        yield "job-log-path keeps the logs of jobs on this host", "leave job-log-path out"
    if "redacted-vars" in settings and not settings["redacted-vars"]:
        yield "redacted-vars is empty: no secret is masked in logs", "leave redacted-vars out"


def _settings(snapshot: Snapshot) -> Verdict:
    found = list(_dangerous(known(snapshot.agent.settings)))
    if not found:
        return ok("none")
    return warn(
        "; ".join(what for what, _ in found),
        f"In buildkite-agent.cfg: {', '.join(fix for _, fix in found)}; then restart the agent.",
    )


def _with_effect(snapshot: Snapshot) -> Iterator[str]:
    """Yield the settings that count on this host, because of others that it has."""
    if snapshot.configured.sandbox.hooks:
        yield "additional-hooks-paths"
    set_by = snapshot.units.variables if isinstance(snapshot.units, Units) else {}
    if any(_DESTINATIONS & names for unit, names in set_by.items() if unit.startswith("buildkite")):
        yield "tracing-backend"


def _ignored(snapshot: Snapshot) -> Verdict:
    settings = known(snapshot.agent.settings)
    works = set(_with_effect(snapshot))
    found = [
        name
        for name in IGNORED
        if settings.get(name, "false") not in {"", "false"} and name not in works
    ]
    if not found:
        return ok("none")
    return warn(
        "; ".join(f"{name}: {IGNORED[name][0]}" for name in found),
        f"Leave them out. Instead: {'; '.join(f'{IGNORED[name][1]}' for name in found)}.",
    )


def _hooks(snapshot: Snapshot) -> Verdict:
    hooks = [
        name
        for name in known(snapshot.agent.hooks)
        if not name.endswith(".sample") and name.partition(".")[0] not in _ON_HOST
    ]
    inside = snapshot.configured.sandbox.hooks
    if not inside and hooks:
        return warn(
            f"hooks that no job runs: {', '.join(hooks)}",
            "Replace them by grants of policies and remove them; or, if they work without files of "
            "this host, set hooks = true in [sandbox] of airlock.toml.",
        )
    known(snapshot.agent.mountable_hooks)
    return ok(f"run inside: {', '.join(hooks)}" if hooks else "none besides the host's own")


def _grace(snapshot: Snapshot) -> Verdict:
    settings = known(snapshot.agent.settings)
    names = {
        "cancel-grace-period": "BUILDKITE_CANCEL_GRACE_PERIOD",
        "signal-grace-period-seconds": "BUILDKITE_SIGNAL_GRACE_PERIOD_SECONDS",
        "cancel-signal-timeout": "BUILDKITE_CANCEL_SIGNAL_TIMEOUT",
    }
    try:
        found = grace({env: settings[name] for name, env in names.items() if settings.get(name)})
    except AirlockError as wrong:
        return fail(wrong.problem, wrong.hint)
    if found.until_kill < LEAST_GRACE:
        return warn(
            f"{found.until_kill:g} s from the cancel signal to the end",
            "Set cancel-grace-period=10 or more in buildkite-agent.cfg.",
        )
    return ok(f"{found.until_kill:g} s from the cancel signal to the end")


def _spawn(snapshot: Snapshot) -> Verdict:
    number = agents(known(snapshot.agent.settings), snapshot.machine.processors)
    most = snapshot.configured.service.jobs_limit(snapshot.configured.sandbox.slots)
    if number > most:
        return warn(
            f"{number} agents, and {most} jobs may run at once",
            "Raise sandbox.slots (and service.jobs-per-agent) in airlock.toml, or lower spawn.",
        )
    return ok(f"{counted(number, 'agent')}, {most} jobs at once")


TITLE = "buildkite-agent"
CHECKS = (
    Check(
        name="agent-config", judge=_file,
        what="buildkite-agent.cfg exists, and not everybody may read it",
        why="It has the registration token: whoever has that can register agents of their own.",
    ),
    Check(
        name="bootstrap-script", judge=_script, what="The agent starts the launcher for each job",
        why="Otherwise it runs jobs itself, on this host, with the instance's role in reach.",
    ),
    Check(
        name="launcher", judge=_launcher,
        what="The launcher is installed, nobody else can replace it, and its version is Airlock's",
        why="Whoever can replace it receives the tokens of all jobs.",
    ),
    Check(
        name="pre-bootstrap", judge=_hook,
        what="The hook pre-bootstrap has jobs refused before anything of them starts",
        why="Only it can end a job with agent_refused; a refused job ends with 77 otherwise.",
    ),
    Check(
        name="agent-user", judge=_users,
        what="The agents' user is not root, not in the group docker, and has no rules of sudo",
        why="Each of these is root on this host: with Docker it can read every job's files.",
    ),
    Check(
        name="agent-settings", judge=_settings, what="No setting of the agent gives secrets away",
        why="What the agent itself writes and passes, Airlock cannot mask.",
    ),
    Check(
        name="ignored-settings", judge=_ignored,
        what="No setting is there that has no effect on jobs in a sandbox",
        why="Somebody may rely on it.",
    ),
    Check(
        name="hooks", judge=_hooks,
        what="There is no hook that no job runs; with sandbox.hooks, jobs can read them",
        why="Hooks of the agent run inside only with sandbox.hooks. Those that jobs cannot read "
        "end every job with 78.",
    ),
    Check(
        name="cancel-grace", judge=_grace,
        what="A cancelled job has eight seconds or more for its hooks",
        why="Of this time hooks inside have all but three seconds; then Airlock kills the job.",
    ),
    Check(
        name="spawn", judge=_spawn, what="There is a slot for each agent",
        why="Jobs beyond that end with 125.",
    ),
)  # fmt: skip
