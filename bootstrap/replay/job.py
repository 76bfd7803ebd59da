"""From what was recorded to a job that can run here: with what an agent would pass it."""

from collections.abc import Mapping
from dataclasses import replace

from bootstrap.buildkite import redaction
from bootstrap.job.assemble import AGENT_NAMES, SOMETIMES, assemble
from bootstrap.job.model import Job
from bootstrap.replay.inputs.needed import require_complete
from bootstrap.replay.model import ReplayInput
from bootstrap.replay.options import Options, Shell, Until
from bootstrap.replay.prompt import COMMAND_SHELL, SHELL_NAME
from bootstrap.sandbox import agent_settings
from bootstrap.secret import Secret

# What an agent passes with its defaults (docs/agent-contract.md#who-sets-which-variable).
DEFAULTS: Mapping[str, str] = {
    "BUILDKITE_BUILD_PATH": "/var/lib/buildkite-agent/builds",
    "BUILDKITE_PLUGINS_PATH": "/var/lib/buildkite-agent/plugins",
    "BUILDKITE_COMMAND_EVAL": "true",
    "BUILDKITE_PLUGINS_ENABLED": "true",
    "BUILDKITE_LOCAL_HOOKS_ENABLED": "true",
    "BUILDKITE_SSH_KEYSCAN": "true",
    "BUILDKITE_SHELL": "/bin/bash -e -c",
    "BUILDKITE_GIT_CLONE_FLAGS": "-v",
    "BUILDKITE_GIT_CLEAN_FLAGS": "-ffxdq",
    "BUILDKITE_GIT_FETCH_FLAGS": "-v --prune",
    "BUILDKITE_REDACTED_VARS": redaction.DEFAULT,
    "BUILDKITE_CANCEL_GRACE_PERIOD": "10",
    "BUILDKITE_SIGNAL_GRACE_PERIOD_SECONDS": "9",
}
TOKEN_NAME = "BUILDKITE_AGENT_ACCESS_TOKEN"  # noqa: S105 - the name, not the value
ENDPOINT_NAME = "BUILDKITE_AGENT_ENDPOINT"
# What names a directory of the agent's host is not there; spans would go to the fleet's collector.
_OF_HOST = {agent_settings.MIRRORS, agent_settings.MORE_HOOKS, "BUILDKITE_TRACING_BACKEND"}
_PASSED = (AGENT_NAMES | SOMETIMES) - _OF_HOST
_PHASES = {None: None, Until.CHECKOUT: "plugin,checkout"}
# With a working copy of the developer's, the bootstrap must not clone, clean or check out.
_WITHOUT_CHECKOUT = "plugin,command"


def job_of(found: ReplayInput, options: Options, *, endpoint: str, token: Secret) -> Job:
    """Return the job. Its agent has a token that is worth nothing but to the API at `endpoint`.

    Raises WrongConfiguration if the input lacks something, Refused for what no job may set.
    """
    require_complete(found)
    env = dict(found.env)
    if options.command is not None:
        env["BUILDKITE_COMMAND"] = options.command
    agent = {**DEFAULTS, **_recorded(found), ENDPOINT_NAME: endpoint}
    if options.shell is not Shell.NEVER:
        agent[SHELL_NAME] = COMMAND_SHELL
    job = assemble(env, {**agent, TOKEN_NAME: token.reveal()})
    phases = _phases(options)
    extra = {"BUILDKITE_BOOTSTRAP_PHASES": phases} if phases else {}
    claims = replace(job.claims, env={**job.claims.env, **extra})
    return replace(job, claims=claims)


def own_shell(found: ReplayInput) -> str:
    """Return what the job's commands are run with where there is no prompt."""
    return {**DEFAULTS, **_recorded(found)}[SHELL_NAME]


def _phases(options: Options) -> str | None:
    if options.checkout is None:
        return _PHASES[options.until]
    return "plugin" if options.until is Until.CHECKOUT else _WITHOUT_CHECKOUT


def _recorded(found: ReplayInput) -> dict[str, str]:
    """Return the recorded agent's own settings: how it clones, and what it runs commands with."""
    recorded = found.run.agent if found.run else {}
    return {
        name: value
        for name, value in recorded.items()
        if name in _PASSED and not name.endswith(("_FILE", "_PID"))
    }
