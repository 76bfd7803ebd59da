"""Checks of systemd's units: the service, its socket, and the agents."""

from collections.abc import Iterator, Mapping

from bootstrap import __version__
from bootstrap.doctor.model import Check, Stage, Verdict, fail, known, ok, warn
from bootstrap.doctor.snapshot import Snapshot, Units

SERVICE, SOCKET, DOCKER = "airlock.service", "airlock.socket", "docker.service"
RULESET = "airlock-firewall.service"
_INSTALL = (
    "`install -D -m 0644 -t /etc/systemd/system agent-config/systemd/airlock.{socket,service} && "
    "systemctl daemon-reload && systemctl enable --now airlock.socket airlock.service`."
)
# What airlock.service has to have (docs/operations.md#the-unit).
WANTED = {"KillMode": "process", "OOMPolicy": "continue", "UMask": "0022"}
# What gives the service mounts of its own, with the values that do not.
MOUNTS = {
    "PrivateTmp": "no", "ProtectSystem": "no", "ProtectHome": "no", "PrivateDevices": "no",
    "ProtectKernelTunables": "no", "ProtectKernelModules": "no", "ProtectControlGroups": "no",
    "PrivateMounts": "no", "RuntimeDirectory": "",
}  # fmt: skip


# Variables of the agent that replace bootstrap-script, hooks-path and the configuration itself.
REPLACING = frozenset(
    {"BUILDKITE_BOOTSTRAP_SCRIPT_PATH", "BUILDKITE_HOOKS_PATH", "BUILDKITE_AGENT_CONFIG"}
)


def _units(snapshot: Snapshot) -> Verdict:
    units = known(snapshot.units)
    for name in (SOCKET, SERVICE):
        found = units.of(name)
        if not found:
            return fail(f"{name} is not installed", _INSTALL)
        if found.get("LoadState") == "masked":
            return fail(f"{name} is masked", f"`systemctl unmask {name}`, then {_INSTALL}")
        if found.get("UnitFileState") not in {"enabled", "enabled-runtime", "static", "linked"}:
            return fail(
                f"{name} is {found.get('UnitFileState') or 'not enabled'}: no job runs after the "
                "next boot",
                "`systemctl enable --now airlock.socket airlock.service`.",
            )
        if found.get("NeedDaemonReload") == "yes":
            return warn(f"{name} was changed since systemd read it", "`systemctl daemon-reload`.")
    return ok("both are installed and enabled")


def _wrong(found: Mapping[str, str]) -> Iterator[str]:
    for name, value in WANTED.items():
        if (got := found.get(name, value)) != value:
            yield f"{name}={got}, expected {value}"
    for name, value in MOUNTS.items():
        if (got := found.get(name, value)) != value:
            yield f"{name}={got}, expected none"


def _firewall(snapshot: Snapshot) -> Verdict:
    units = known(snapshot.units)
    found = units.of(RULESET)
    if not found:
        return ok("there is none: the service loads the ruleset, and so does every job")
    if found.get("LoadState") == "masked":
        return fail(f"{RULESET} is masked: nothing starts", f"`systemctl unmask {RULESET}`.")
    if found.get("UnitFileState") == "disabled":
        return fail(
            f"{RULESET} is disabled: nothing starts after the next boot",
            f"`systemctl enable --now {RULESET}`.",
        )
    if found.get("ActiveState") == "failed":
        return fail(
            f"{RULESET} has failed",
            f"`journalctl -u {RULESET}` has the reason; then `systemctl restart {RULESET}`.",
        )
    loose = [
        name
        for name in (DOCKER, *_agents(units))
        if units.of(name) and RULESET not in units.of(name).get("BindsTo", "").split()
    ]
    if loose:
        return fail(
            f"{', '.join(loose)} would start without {RULESET}",
            f"`systemctl edit {loose[0]}` with BindsTo={RULESET} and After={RULESET} below [Unit].",
        )
    return ok("Docker and the agents are bound to it")


def _service_unit(snapshot: Snapshot) -> Verdict:
    found = known(snapshot.units).of(SERVICE)
    if not found or found.get("LoadState") == "masked":
        return fail("airlock.service is not installed", _INSTALL)
    wrong = list(_wrong(found))
    if not wrong:
        return ok("as agent-config/systemd/airlock.service has it")
    return fail(
        "; ".join(wrong),
        f"Remove the drop-ins that set this (`systemctl cat {SERVICE}` names their files), or "
        f"install the unit again: {_INSTALL}",
    )


def _agents(units: Units) -> dict[str, Mapping[str, str]]:
    return {
        name: found
        for name, found in units.properties.items()
        if name.startswith("buildkite-agent") and found
    }


def _order(snapshot: Snapshot) -> Verdict:
    units = known(snapshot.units)
    agents = _agents(units)
    if not agents:
        return warn(
            "there is no unit of buildkite-agent",
            "Install the agent's package, or start agents after airlock.socket yourself.",
        )
    socket = units.of(SOCKET)
    early = [
        name
        for name, found in agents.items()
        if SOCKET not in found.get("After", "").split()
        and name not in socket.get("Before", "").split()
    ]
    if early:
        return warn(
            f"{', '.join(early)} may start before {SOCKET}",
            f"`systemctl edit {early[0]}` with After={SOCKET} and Requires={SOCKET} below [Unit].",
        )
    return ok(f"{', '.join(agents)} after {SOCKET}")


def _kill_mode(snapshot: Snapshot) -> Verdict:
    agents = _agents(known(snapshot.units))
    modes = {name: found.get("KillMode", "control-group") for name, found in agents.items()}
    wrong = {name: mode for name, mode in modes.items() if mode not in {"process", "none"}}
    if not wrong:
        return ok(", ".join(f"{name}: {mode}" for name, mode in modes.items()) or "no agent")
    name = next(iter(wrong))
    return warn(
        ", ".join(f"{name} has KillMode={mode}" for name, mode in wrong.items()),
        f"`systemctl edit {name}` with KillMode=process below [Service], unless a stop of the "
        "agent is to cancel its job.",
    )


def _agent_environment(snapshot: Snapshot) -> Verdict:
    """What the unit sets counts more than buildkite-agent.cfg."""
    units = known(snapshot.units)
    found = [
        f"{name} sets {variable}"
        for name in _agents(units)
        for variable in sorted(units.variables.get(name, frozenset()) & REPLACING)
    ]
    if not found:
        return ok("no unit overrides buildkite-agent.cfg")
    return fail(
        f"a setting of buildkite-agent.cfg does not count: {', '.join(found)}",
        "Remove it (`systemctl cat` names the file): what doctor has read in buildkite-agent.cfg "
        "is not what the agent does.",
    )


def _service(snapshot: Snapshot) -> Verdict:
    seen = known(snapshot.service)
    units = snapshot.units
    status = units.of(SERVICE).get("StatusText", "") if isinstance(units, Units) else ""
    running = status.removeprefix("version ").partition(",")[0] if "version " in status else ""
    if running and running != __version__:
        return warn(
            f"version {running} runs, and {__version__} is installed",
            "`systemctl reload airlock`: jobs that run go on.",
        )
    return ok(seen)


TITLE = "Services"
CHECKS = (
    Check(
        name="units", judge=_units, what="The units of Airlock are installed and enabled",
        why="Without them no job runs after the next boot: a launcher waits, and ends with 125.",
    ),
    Check(
        name="service-unit", judge=_service_unit,
        what="airlock.service has KillMode=process and no mounts of its own",
        why="With another KillMode a restart ends every job; with mounts of its own the service "
        "and Docker see different files.",
    ),
    Check(
        name="firewall-unit", judge=_firewall,
        what="Where airlock-firewall.service is installed, Docker and the agents are bound to it",
        why="Machine images have it so that nothing runs in a container before the ruleset is "
        "loaded, and no job if it cannot be.",
    ),
    Check(
        name="unit-order", judge=_order, what="The agents start after airlock.socket",
        why="An agent that is first takes jobs that nobody can run yet.",
    ),
    Check(
        name="agent-kill-mode", judge=_kill_mode, what="The agents' units have KillMode=process",
        why="Otherwise a stop or restart of the agent cancels the job that runs.",
    ),
    Check(
        name="agent-environment", judge=_agent_environment,
        what="No unit replaces bootstrap-script or hooks-path",
        why="The agent would start something else than the launcher.",
    ),
    Check(
        name="service", judge=_service, since=Stage.RUN,
        what="The service answers the agents' users, and is of the installed version",
        why="Every job passes through it.",
    ),
)  # fmt: skip
