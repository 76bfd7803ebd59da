"""The environment of the job's processes: the job's variables, the agent's, and Airlock's."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import assert_never

from bootstrap.buildkite import redaction
from bootstrap.buildkite.grace import Grace
from bootstrap.grants import secret_files
from bootstrap.grants.kind import Variables
from bootstrap.job.model import Job
from bootstrap.sandbox import agent_settings
from bootstrap.sandbox.model import SandboxGrace
from bootstrap.secret import Secret

AIRLOCK = PurePosixPath("/airlock")  # the sandbox directory, read-only
BIN = PurePosixPath("/opt/airlock/bin")  # the host's buildkite-agent, read-only
HOOKS = PurePosixPath("/opt/airlock/hooks")  # the agent's additional ones, read-only
SECRETS = AIRLOCK / secret_files.DIRECTORY
SCRATCH = PurePosixPath("/run/buildkite")  # a tmpfs of the job's own user
TIMEOUT_MARKER = "job-timed-out"

# Read-only in bash or dash: assigning one ends a POSIX shell, and every shell sets its own value.
SHELL_OWN = frozenset({"UID", "EUID", "PPID", "BASHOPTS", "SHELLOPTS", "BASH_VERSINFO"})

# Agent values that name something outside the sandbox
# (docs/agent-contract.md#paths, docs/agent-contract.md#variables-with-secrets).
OUTSIDE = frozenset(
    {
        "BUILDKITE_CONFIG_PATH",  # holds the registration token
        "BUILDKITE_AGENT_PID",
        "BUILDKITE_AGENT_JWKS_FILE",  # the private key that signs pipelines
        "BUILDKITE_AGENT_JWKS_KEY_ID",
        "BUILDKITE_GIT_MIRRORS_SKIP_UPDATE",  # of mirrors that something else updates
    }
)
# Mounted where the agent has them, and nowhere else: the job's own value would be no directory.
_MOUNTED = frozenset({agent_settings.MIRRORS, agent_settings.MORE_HOOKS})

# How Buildkite routes the agent's own requests, which only the gateway makes where there is one.
HEADERS = "BUILDKITE_REQUEST_HEADER_"

KILL_MARGIN = 1.5  # seconds to remove a killed container before the agent kills Airlock
INNER_MARGIN = 3.0  # seconds for hooks and artifacts inside, after the command was killed


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxEnvironment:
    """The environment, and the names of job variables that were left out of it."""

    variables: Mapping[str, str]
    dropped: tuple[str, ...]


def sandbox_grace(grace: Grace) -> SandboxGrace:
    """Return the deadlines inside: Airlock's before the agent's, the bootstrap's before Airlock's.

    In this order however short the agent's grace is.
    """
    kill_after = max(grace.until_kill - KILL_MARGIN, grace.until_kill * 2 / 3)
    inner = max(grace.until_kill - INNER_MARGIN, grace.until_kill / 3)
    return SandboxGrace(inner=inner, kill_after=kill_after, agent_kills=grace.until_kill)


def sandbox_environment(
    job: Job,
    *,
    job_env: Mapping[str, str],
    granted: Variables,
    home: str,
    agent_api: tuple[str, Secret] | None = None,
) -> SandboxEnvironment:
    """Compose the environment inside; later layers win. `job_env` has no AWS variables any more.

    `agent_api` is the job's own gateway, its URL and token: nothing that the real one needs is
    inside then. A variable that none of them sets, such as PATH, keeps the image's value.
    """
    not_of_job = SHELL_OWN | OUTSIDE | _MOUNTED
    of_job = {name: value for name, value in job_env.items() if name not in not_of_job}
    of_agent = {
        name: value
        for name, value in agent_settings.passed(job.agent.values).items()
        if name not in OUTSIDE
    }
    variables = {
        "TERM": "xterm-256color",
        **of_job,
        **of_agent,
        **_fixed(home),
        **_more_hooks(job),
        **_grace(job.grace),
        **revealed(granted),
        **_redacted(job, [name for name, value in granted.items() if isinstance(value, Secret)]),
        **_of_agent_api(job, agent_api),
    }
    if agent_api is not None:
        variables = {n: v for n, v in variables.items() if not n.startswith(HEADERS)}
    dropped = tuple(sorted(set(job.claims.env) - set(variables)))
    return SandboxEnvironment(variables=variables, dropped=dropped)


def _of_agent_api(job: Job, agent_api: tuple[str, Secret] | None) -> dict[str, str]:
    if agent_api is None:
        return {"BUILDKITE_AGENT_ACCESS_TOKEN": job.agent.token.reveal()}
    endpoint, token = agent_api
    return {
        "BUILDKITE_AGENT_ENDPOINT": endpoint,
        "BUILDKITE_AGENT_ACCESS_TOKEN": token.reveal(),
    }


def revealed(granted: Variables) -> dict[str, str]:
    """Return a grant's variables as the container gets them."""
    return {
        name: value.reveal() if isinstance(value, Secret) else value
        for name, value in granted.items()
    }


def _redacted(job: Job, secrets: Sequence[str]) -> dict[str, str]:
    """Add the rule's secrets to the names that the bootstrap inside redacts."""
    if not secrets:
        return {}
    patterns = job.agent.values.get("BUILDKITE_REDACTED_VARS") or redaction.DEFAULT
    return {"BUILDKITE_REDACTED_VARS": ",".join((patterns, *sorted(secrets)))}


def exports(variables: Mapping[str, str]) -> bytes:
    """Return the environment as lines that a POSIX shell reads back byte for byte.

    Names have to be shell names and values free of NUL: buildkite/env_files.py refuses others.
    """
    lines = (f"export {name}={shlex.quote(value)}\n" for name, value in sorted(variables.items()))
    return "".join(lines).encode("utf-8", "surrogateescape")


def _fixed(home: str) -> dict[str, str]:
    return {
        "HOME": home,
        "USER": "airlock",
        "TMPDIR": "/tmp",  # noqa: S108 - a tmpfs of the container
        "BUILDKITE_BIN_PATH": str(BIN),
        "BUILDKITE_SOCKETS_PATH": str(SCRATCH / "sockets"),
        "BUILDKITE_HOOKS_PATH": str(AIRLOCK / "agent-hooks"),
        "BUILDKITE_ENV_FILE": str(SCRATCH / "job-env"),
        "BUILDKITE_ENV_JSON_FILE": str(SCRATCH / "job-env.json"),
        "AIRLOCK_SECRETS": str(SECRETS),
        "BUILDKITE_AGENT_JOB_TIMEOUT_FILE": str(AIRLOCK / "marks" / TIMEOUT_MARKER),
    }


def _more_hooks(job: Job) -> dict[str, str]:
    mounted = more_hooks(job.agent.values)
    return {agent_settings.MORE_HOOKS: ",".join(map(str, mounted))} if mounted else {}


def more_hooks(values: Mapping[str, str]) -> dict[PurePosixPath, PurePosixPath]:
    """Return the agent's additional directories of hooks, by where they are in the sandbox."""
    listed = filter(None, values.get(agent_settings.MORE_HOOKS, "").split(","))
    return {HOOKS / str(number): PurePosixPath(path) for number, path in enumerate(listed, 1)}


def _grace(grace: Grace) -> dict[str, str]:
    """Return the bootstrap's shorter deadline, in the variables of its generation.

    Which ones: docs/agent-contract.md#agent-3-and-agent-4
    """
    inner = int(sandbox_grace(grace).inner)
    match grace.dialect:
        case 4:
            return {
                "BUILDKITE_CANCEL_SIGNAL_TIMEOUT": f"{inner}s",
                "BUILDKITE_CANCEL_CLEANUP_TIMEOUT": "1s",
            }
        case 3:  # signal < cancel, or the bootstrap exits 1
            return {
                "BUILDKITE_CANCEL_GRACE_PERIOD": str(inner + 1),
                "BUILDKITE_SIGNAL_GRACE_PERIOD_SECONDS": str(inner),
            }
        case _:
            assert_never(grace.dialect)


def as_json(env: Mapping[str, str]) -> bytes:
    """Return the content of BUILDKITE_ENV_JSON_FILE inside.

    Format: docs/agent-contract.md#the-environment-files
    """
    return json.dumps(env, ensure_ascii=False).encode("utf-8", "surrogateescape") + b"\n"


def go_quoted(env: Mapping[str, str]) -> bytes:
    """Return the content of BUILDKITE_ENV_FILE inside: NAME=<Go %q> per line.

    Format: docs/agent-contract.md#the-environment-files
    """
    lines = (f"{name}={_go_quote(value)}\n" for name, value in env.items())
    return "".join(lines).encode("utf-8", "surrogateescape")


def _go_quote(value: str) -> str:
    return '"' + "".join(_GO_ESCAPES.get(char, char) for char in value) + '"'


_GO_ESCAPES = {
    **{chr(code): f"\\x{code:02x}" for code in (*range(0x20), 0x7F)},
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    '"': '\\"',
    "\\": "\\\\",
}


def passwd(uid: int, gid: int, home: str) -> bytes:
    """Return an /etc/passwd that names the job's uid: ssh refuses to run without a name."""
    return (
        "root:x:0:0:root:/root:/sbin/nologin\n"
        f"airlock:x:{uid}:{gid}:Airlock job:{home}:/bin/sh\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n"
    ).encode()


def group(gid: int) -> bytes:
    """Return the /etc/group that goes with `passwd`."""
    return f"root:x:0:\nairlock:x:{gid}:\nnogroup:x:65534:\n".encode()
