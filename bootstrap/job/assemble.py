"""From the two environments to claims, agent and job: this module decides who vouches for what."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bootstrap.buildkite.agent_files import check_names
from bootstrap.buildkite.grace import grace
from bootstrap.errors import Refused, WrongConfiguration
from bootstrap.job.facts import facts, forged_tags
from bootstrap.job.model import Agent, Claims, Job
from bootstrap.secret import Secret
from bootstrap.text import printable

_TOKEN = "BUILDKITE_AGENT_ACCESS_TOKEN"  # noqa: S105 - the name, not the value
OVERRIDE_MODE = "BUILDKITE_CHECKOUT_OVERRIDE_MODE"
# Settings that a job could take from the agent by setting them to the very same value, as it is not
# known then who has set them. With these, its flags, hooks of the agent or mirrors would be lost.
AGENTS_OWN = {
    OVERRIDE_MODE: "checkout-override-mode",
    "BUILDKITE_ADDITIONAL_HOOKS_PATHS": "additional-hooks-paths",
    "BUILDKITE_GIT_MIRRORS_PATH": "git-mirrors-path",
}
# How tokens of one job begin (docs/agent-contract.md#the-agent-api).
JOB_TOKEN = "bkaj_"  # noqa: S105 - no token, only its first characters


def _names(listed: str, prefix: str = "") -> frozenset[str]:
    return frozenset(f"{prefix}{name}" for name in listed.split())


def _buildkite_names(listed: str) -> frozenset[str]:
    return _names(listed, "BUILDKITE_")


# The names that the agent always overwrites (docs/agent-contract.md#who-sets-which-variable).
# Their values come from the process environment, those of all other names only from the job's file.
AGENT_NAMES = _buildkite_names(
    """
    ADDITIONAL_HOOKS_PATHS AGENT_ACCESS_TOKEN AGENT_DEBUG AGENT_DEBUG_HTTP
    AGENT_DISABLE_WARNINGS_FOR AGENT_ENDPOINT AGENT_EXPERIMENT AGENT_JOB_TIMEOUT_FILE
    AGENT_PID BIN_PATH BUILD_PATH CANCEL_CLEANUP_TIMEOUT CANCEL_GRACE_PERIOD
    CANCEL_SIGNAL_TIMEOUT CHECKOUT_ATTEMPTS CHECKOUT_OVERRIDE_MODE COMMAND_EVAL CONFIG_PATH
    ENV_FILE ENV_JSON_FILE GIT_CHECKOUT_FLAGS GIT_CLEAN_FLAGS GIT_CLONE_FLAGS
    GIT_CLONE_MIRROR_FLAGS GIT_COMMIT_VERIFICATION GIT_FETCH_FLAGS GIT_MIRRORS_LOCK_TIMEOUT
    GIT_MIRRORS_PATH GIT_MIRRORS_SKIP_UPDATE GIT_MIRROR_CHECKOUT_MODE
    GIT_SUBMODULE_CLONE_CONFIG HOOKS_PATH HOOKS_SHELL JOB_LOGS_OTLP LOCAL_HOOKS_ENABLED
    NO_HTTP2 PLUGINS_ENABLED PLUGINS_PATH PLUGIN_VALIDATION REDACTED_VARS SHELL
    SIGNAL_GRACE_PERIOD_SECONDS SOCKETS_PATH SSH_KEYSCAN STRICT_SINGLE_HOOKS
    """
)

# Those that every supported agent sets, whatever its version. Any other may be the job's: it counts
# as the agent's only where it differs from the job's file.
EVERY_VERSION = _buildkite_names(
    """
    AGENT_ACCESS_TOKEN AGENT_ENDPOINT AGENT_PID BIN_PATH BUILD_PATH COMMAND_EVAL CONFIG_PATH
    ENV_FILE ENV_JSON_FILE HOOKS_PATH LOCAL_HOOKS_ENABLED PLUGINS_ENABLED PLUGINS_PATH
    REDACTED_VARS SHELL SSH_KEYSCAN
    """
)

# The agent writes these only in some configurations; otherwise it uses the job's value
# (docs/agent-contract.md#who-sets-which-variable). They reach the sandbox as they are, and decide
# nothing outside of it.
SOMETIMES = _buildkite_names(
    """
    AGENT_AWS_KMS_KEY AGENT_GCP_KMS_KEY AGENT_JWKS_FILE AGENT_JWKS_KEY_ID
    AGENT_PROFILE ARTIFACT_UPLOAD_CONCURRENCY CANCEL_SIGNAL GIT_CHECKOUT_TIMEOUT
    GIT_SKIP_FETCH_EXISTING_COMMITS GIT_SUBMODULES NO_MULTIPART_ARTIFACT_UPLOAD
    OPENTELEMETRY_TRACING PLUGINS_ALWAYS_CLONE_FRESH PTY SECRETS_CONFIG SKIP_CHECKOUT
    TELEMETRY_SERVICE_NAME TRACE_CONTEXT_ENCODING
    TRACING_BACKEND TRACING_PROPAGATE_TRACEPARENT TRACING_SERVICE_NAME TRACING_TRACEPARENT
    TRACING_TRACESTATE
    """
) | _names(
    # The operator's, of the agent's own environment: where the bootstrap sends its spans. What
    # authenticates there (OTEL_EXPORTER_OTLP_HEADERS) is not for jobs.
    """
    OTEL_EXPORTER_OTLP_ENDPOINT OTEL_EXPORTER_OTLP_TRACES_ENDPOINT OTEL_EXPORTER_OTLP_PROTOCOL
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL OTEL_EXPORTER_OTLP_INSECURE
    OTEL_EXPORTER_OTLP_TRACES_INSECURE OTEL_RESOURCE_ATTRIBUTES OTEL_SERVICE_NAME
    DD_AGENT_HOST DD_TRACE_AGENT_PORT DD_TRACE_AGENT_URL DD_ENV DD_SERVICE DD_TAGS DD_VERSION
    """
)
# The agent leaves these to the job too where its own checkout-override-mode is "none".
_FLAGS = _buildkite_names(
    """
    GIT_CHECKOUT_FLAGS GIT_CLEAN_FLAGS GIT_CLONE_FLAGS GIT_COMMIT_VERIFICATION GIT_FETCH_FLAGS
    """
)
_HEADERS = "BUILDKITE_REQUEST_HEADER_"  # how the control plane routes the agent's requests

# The bootstrap ends with 1 unless all of these are set
# (docs/agent-contract.md#required-values).
_REQUIRED = (
    "BUILDKITE_JOB_ID",
    "BUILDKITE_REPO",
    "BUILDKITE_COMMIT",
    "BUILDKITE_BRANCH",
    "BUILDKITE_AGENT_NAME",
    "BUILDKITE_ORGANIZATION_SLUG",
    "BUILDKITE_PIPELINE_SLUG",
    "BUILDKITE_PIPELINE_PROVIDER",
)

# These become parts of paths on this host.
_PATH_PARTS = (
    "BUILDKITE_JOB_ID",
    "BUILDKITE_AGENT_NAME",
    "BUILDKITE_ORGANIZATION_SLUG",
    "BUILDKITE_PIPELINE_SLUG",
)


def assemble(env: Mapping[str, str], process_env: Mapping[str, str], *, agent_uid: int = 0) -> Job:
    """Make a Job of Buildkite's environment `env` and the agent's part of `process_env`.

    `agent_uid` is the user that the agent runs as.
    Raises Refused for what no job may set, WrongConfiguration for what the agent fails to set.
    """
    claims, agent = claims_of(env, process_env), agent_of(env, process_env)
    marker = agent.values.get("BUILDKITE_AGENT_JOB_TIMEOUT_FILE")
    return Job(
        claims=claims,
        agent=replace(agent, uid=agent_uid),
        grace=grace(agent.values),
        build_path=_build_path(agent.values),
        timeout_marker=Path(marker) if marker else None,
    )


def claims_of(env: Mapping[str, str], process_env: Mapping[str, str]) -> Claims:
    """Return what a decision needs. `process_env` may be empty where there is no agent.

    Raises Refused for what no job may set.
    """
    _require(env)
    _check_parts(env)
    _check_tags(env)
    _check_own(env, process_env)
    return Claims(
        organization=env["BUILDKITE_ORGANIZATION_SLUG"],
        pipeline=env["BUILDKITE_PIPELINE_SLUG"],
        job_id=env["BUILDKITE_JOB_ID"],
        build_number=env.get("BUILDKITE_BUILD_NUMBER", ""),
        agent_name=env["BUILDKITE_AGENT_NAME"],
        repository=env["BUILDKITE_REPO"],
        env={
            name: value
            for name, value in env.items()
            # A value that may be the agent's must not vanish: the bootstrap would lack it.
            if name not in AGENT_NAMES
            or (process_env.get(name) == value and _may_be_from_job(name, value, env, process_env))
        },
        facts=facts(env),
    )


def agent_of(env: Mapping[str, str], process_env: Mapping[str, str]) -> Agent:
    """Return what the agent passes to the job whose environment is `env`.

    Raises WrongConfiguration if there is no access token, Refused if the environment files are
    another job's.
    """
    values = {
        name: value
        for name, value in process_env.items()
        if _from_agent(name) and not _may_be_from_job(name, value, env, process_env)
    }
    token = values.pop(_TOKEN, "")
    if not token:
        raise WrongConfiguration(
            f"the agent passed no {_TOKEN}",
            hint="The agent has to start Airlock as its bootstrap-script, with the environment "
            "unchanged.",
        )
    check_names(env["BUILDKITE_JOB_ID"], values)
    return Agent(values=values, token=Secret(token), own_token=token.startswith(JOB_TOKEN))


def _from_agent(name: str) -> bool:
    return name in AGENT_NAMES or name in SOMETIMES or name.startswith(_HEADERS)


def _may_be_from_job(
    name: str, value: str, env: Mapping[str, str], process_env: Mapping[str, str]
) -> bool:
    """Return whether the agent may have left the job's own value in place."""
    if name in _FLAGS:
        return process_env.get(OVERRIDE_MODE) == "none" and env.get(name) == value
    return name not in EVERY_VERSION and env.get(name) == value


def _check_own(env: Mapping[str, str], process_env: Mapping[str, str]) -> None:
    """Refuse a job that sets for itself what only the agent decides."""
    for name, setting in AGENTS_OWN.items():
        if env.get(name) and env[name] == process_env.get(name):
            raise Refused(
                f"the job sets {name}",
                hint="Remove it from the pipeline, the step or the build. Only buildkite-agent.cfg "
                f"may set {setting}.",
            )


def _require(env: Mapping[str, str]) -> None:
    missing = [name for name in _REQUIRED if not env.get(name)]
    if missing:
        raise Refused(
            f"the job lacks {', '.join(missing)}",
            hint="Buildkite sends these with every job. Check that the build's own environment "
            "does not empty them.",
        )


def _check_parts(env: Mapping[str, str]) -> None:
    for name in _PATH_PARTS:
        value = env[name]
        if not is_part(value):
            raise Refused(
                f"{name} is {printable(value, limit=80)!r}, which cannot name a directory",
                hint="Expected a name of at most 255 characters, without '/', '..' and "
                "control characters.",
            )


def is_part(value: str) -> bool:
    """Return whether a value can be a part of a path on this host."""
    printable_text = bool(value) and value.isprintable() and len(value) <= 255
    return printable_text and value not in {".", ".."} and "/" not in value


def _check_tags(env: Mapping[str, str]) -> None:
    if forged := forged_tags(env):
        raise Refused(
            f"the job sets {printable(', '.join(forged))} beside the agent's own tag",
            hint="Only Buildkite sets BUILDKITE_AGENT_META_DATA_*, in capitals. Remove it from "
            "the pipeline, the step or the build that sets it.",
        )


def _build_path(agent: Mapping[str, str]) -> Path:
    text = agent.get("BUILDKITE_BUILD_PATH", "")
    path = Path(text)
    if not path.is_absolute() or ".." in path.parts:
        raise WrongConfiguration(
            f"BUILDKITE_BUILD_PATH is {printable(text)!r}, expected an absolute path",
            hint="Set build-path in buildkite-agent.cfg.",
        )
    return path
