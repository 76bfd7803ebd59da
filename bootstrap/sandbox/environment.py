"""What the job's processes see: the job's variables, the agent's with our paths, and ours."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from bootstrap.buildkite import redaction
from bootstrap.buildkite.grace import Grace
from bootstrap.grants import secret_files
from bootstrap.grants.kind import Variables
from bootstrap.job.model import Job
from bootstrap.sandbox.model import SandboxGrace
from bootstrap.secret import Secret

AIRLOCK = PurePosixPath("/airlock")  # our read-only directory inside the container
BIN = PurePosixPath("/opt/airlock/bin")  # the host's buildkite-agent, read-only
SECRETS = AIRLOCK / secret_files.DIRECTORY
SCRATCH = PurePosixPath("/run/buildkite")  # a tmpfs of the job's own user
TIMEOUT_MARKER = "job-timed-out"

# bash and dash keep these for themselves: assigning one ends a POSIX shell, and whatever value a
# job gives them is replaced in every shell it starts.
SHELL_OWN = frozenset({"UID", "EUID", "PPID", "BASHOPTS", "SHELLOPTS", "BASH_VERSINFO"})

# Agent values that name something which stays outside
# (docs/agent-contract.md#paths, docs/agent-contract.md#variables-with-secrets).
OUTSIDE = frozenset(
    {
        "BUILDKITE_CONFIG_PATH",  # holds the registration token
        "BUILDKITE_AGENT_PID",
        "BUILDKITE_AGENT_JWKS_FILE",  # the private key that signs pipelines
        "BUILDKITE_AGENT_JWKS_KEY_ID",
        "BUILDKITE_ADDITIONAL_HOOKS_PATHS",
        "BUILDKITE_GIT_MIRRORS_PATH",
        "BUILDKITE_GIT_MIRRORS_SKIP_UPDATE",
        "BUILDKITE_GIT_MIRRORS_LOCK_TIMEOUT",
    }
)

KILL_MARGIN = 1.5  # seconds to remove a killed room before the agent kills us
INNER_MARGIN = 3.0  # seconds for the inner hooks and artifacts after the command's kill


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxEnvironment:
    """The environment, and the names of job variables that were left out of it."""

    variables: Mapping[str, str]
    dropped: tuple[str, ...]


def sandbox_grace(grace: Grace) -> SandboxGrace:
    """Move the agent's deadline forward twice: for us, and once more for the bootstrap inside.

    However short the agent's grace, each party keeps a share of it.
    """
    kill_after = max(grace.until_kill - KILL_MARGIN, grace.until_kill * 2 / 3)
    inner = max(grace.until_kill - INNER_MARGIN, grace.until_kill / 3)
    return SandboxGrace(inner=inner, kill_after=kill_after)


def sandbox_environment(
    job: Job,
    *,
    job_env: Mapping[str, str],
    granted: Variables,
    home: str,
) -> SandboxEnvironment:
    """Compose the sandbox's environment; later layers win. `job_env` is already free of AWS chains.

    What is in none of them, such as PATH, stays as the image has it.
    """
    kept = {name: value for name, value in job_env.items() if name not in SHELL_OWN | OUTSIDE}
    outer = {name: value for name, value in job.agent.values.items() if name not in OUTSIDE}
    variables = {
        "TERM": "xterm-256color",
        **kept,
        **outer,
        **_ours(home),
        **_grace(job.grace),
        **revealed(granted),
        **_redacted(job, [name for name, value in granted.items() if isinstance(value, Secret)]),
        "BUILDKITE_AGENT_ACCESS_TOKEN": job.agent.token.reveal(),
    }
    dropped = tuple(sorted(set(job.claims.env) - set(variables)))
    return SandboxEnvironment(variables=variables, dropped=dropped)


def revealed(granted: Variables) -> dict[str, str]:
    """Return a grant's variables as the container gets them."""
    return {
        name: value.reveal() if isinstance(value, Secret) else value
        for name, value in granted.items()
    }


def _redacted(job: Job, secrets: Sequence[str]) -> dict[str, str]:
    """Have the bootstrap inside redact the rule's secrets too, beside what it would anyway."""
    if not secrets:
        return {}
    patterns = job.agent.values.get("BUILDKITE_REDACTED_VARS") or redaction.DEFAULT
    return {"BUILDKITE_REDACTED_VARS": ",".join((patterns, *sorted(secrets)))}


def exports(variables: Mapping[str, str]) -> bytes:
    """Return the environment as lines that a POSIX shell reads back byte for byte.

    Names must already be shell names and values free of NUL (job.envfile sees to both).
    """
    lines = (f"export {name}={shlex.quote(value)}\n" for name, value in sorted(variables.items()))
    return "".join(lines).encode("utf-8", "surrogateescape")


def _ours(home: str) -> dict[str, str]:
    return {
        "HOME": home,
        "USER": "airlock",
        "TMPDIR": "/tmp",  # noqa: S108 - the container's own tmpfs
        "BUILDKITE_BIN_PATH": str(BIN),
        "BUILDKITE_SOCKETS_PATH": str(SCRATCH / "sockets"),
        "BUILDKITE_HOOKS_PATH": str(AIRLOCK / "agent-hooks"),
        "BUILDKITE_ENV_FILE": str(SCRATCH / "job-env"),
        "BUILDKITE_ENV_JSON_FILE": str(SCRATCH / "job-env.json"),
        "AIRLOCK_SECRETS": str(SECRETS),
        "BUILDKITE_AGENT_JOB_TIMEOUT_FILE": str(AIRLOCK / "marks" / TIMEOUT_MARKER),
    }


def _grace(outer: Grace) -> dict[str, str]:
    """Tell the bootstrap inside its shorter deadline, in the dialect of its generation."""
    inner = int(sandbox_grace(outer).inner)
    match outer.dialect:
        case 4:
            return {
                "BUILDKITE_CANCEL_SIGNAL_TIMEOUT": f"{inner}s",
                "BUILDKITE_CANCEL_CLEANUP_TIMEOUT": "1s",
            }
        case _:  # signal < cancel, or the bootstrap exits 1
            return {
                "BUILDKITE_CANCEL_GRACE_PERIOD": str(inner + 1),
                "BUILDKITE_SIGNAL_GRACE_PERIOD_SECONDS": str(inner),
            }


def as_json(env: Mapping[str, str]) -> bytes:
    """Write BUILDKITE_ENV_JSON_FILE for the room (docs/agent-contract.md#the-environment-files)."""
    return json.dumps(env, ensure_ascii=False).encode("utf-8", "surrogateescape") + b"\n"


def go_quoted(env: Mapping[str, str]) -> bytes:
    """Write BUILDKITE_ENV_FILE for the room: NAME=<Go %q> per line.

    Source: docs/agent-contract.md#the-environment-files
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


def passwd(uid: int, home: str) -> bytes:
    """Give the job's uid a name in any image: ssh refuses to run without one."""
    return (
        "root:x:0:0:root:/root:/sbin/nologin\n"
        f"airlock:x:{uid}:{uid}:Airlock job:{home}:/bin/sh\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n"
    ).encode()


def group(uid: int) -> bytes:
    """The groups that go with `passwd`."""
    return f"root:x:0:\nairlock:x:{uid}:\nnogroup:x:65534:\n".encode()
