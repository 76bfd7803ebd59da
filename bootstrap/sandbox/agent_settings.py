"""What settings of the agent do for a job in the sandbox, where that is not what they do outside.

Every feature, and what shows it: docs/features.md
"""

import ipaddress
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from bootstrap.job.model import Job

MIRRORS = "BUILDKITE_GIT_MIRRORS_PATH"
MORE_HOOKS = "BUILDKITE_ADDITIONAL_HOOKS_PATHS"
_BACKEND = "BUILDKITE_TRACING_BACKEND"
# docs/agent-contract.md#agent-3-and-agent-4
_V4 = "BUILDKITE_OPENTELEMETRY_TRACING"
# Where each back end sends spans, by precedence. Without any it is a port of the machine itself.
_DESTINATIONS: Mapping[str, tuple[str, ...]] = {
    "opentelemetry": ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
    "datadog": ("DD_TRACE_AGENT_URL", "DD_AGENT_HOST"),
}
_TELEMETRY = (
    "BUILDKITE_TRACING_", "BUILDKITE_TRACE_", "BUILDKITE_OPENTELEMETRY_", "BUILDKITE_TELEMETRY_",
    "OTEL_", "DD_",
)  # fmt: skip


def trees(job: Job) -> dict[str, Path]:
    """Return the parts of the job's workspace, and where each is in the sandbox.

    Mirrors are a part, if the agent has any: git refers to them by their path, and whoever writes
    to them decides what those who read them check out.
    """
    values = job.agent.values
    plugins, mirrors = values.get("BUILDKITE_PLUGINS_PATH"), values.get(MIRRORS)
    return {
        "builds": job.build_path,
        "plugins": Path(plugins) if plugins else job.build_path.parent / "plugins",
        **({"mirrors": Path(mirrors)} if mirrors else {}),
    }


def passed(values: Mapping[str, str]) -> dict[str, str]:
    """Return the agent's values without those of tracing, if no span could leave the sandbox.

    The bootstrap would wait at its end for a collector that it cannot reach.
    """
    if not _without_tracing(values):
        return dict(values)
    return {name: value for name, value in values.items() if not name.startswith(_TELEMETRY)}


def without_effect(values: Mapping[str, str]) -> Iterator[str]:
    """Yield each setting that does nothing for this job, and why, in words."""
    if values.get("BUILDKITE_AGENT_JWKS_FILE"):
        yield "signing-jwks-file (pipelines that the job uploads are not signed)"
    if values.get(MIRRORS) and values.get("BUILDKITE_GIT_MIRRORS_SKIP_UPDATE") == "true":
        yield "git-mirrors-skip-update (the mirrors are the rule's own, which nothing else updates)"
    if why := _without_tracing(values):
        yield f"tracing-backend ({why})"


def _without_tracing(values: Mapping[str, str]) -> str:
    """Return why no span could leave the sandbox, or ""."""
    is_v4 = values.get(_V4, "").lower() in {"true", "1"}
    backend = values.get(_BACKEND) or ("opentelemetry" if is_v4 else "")
    if not backend:
        return ""
    names = _DESTINATIONS.get(backend)
    if names is None:
        return f"{backend!r} is no back end that Airlock knows"
    name = next((name for name in names if values.get(name)), None)
    if name is None:
        return f"the agent's environment has no {names[-1]}"
    return f"{name} is a port of this host" if _is_local(values[name]) else ""


def _is_local(destination: str) -> bool:
    """Return whether a URL or name leads to the machine itself, or to a socket file."""
    try:
        url = urlsplit(destination if "://" in destination else f"//{destination}")
        host = url.hostname or ""
    except ValueError:
        return True
    if url.scheme == "unix" or not host or host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified or address.is_link_local
