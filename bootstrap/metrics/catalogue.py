"""Every metric, with every value that its labels can have.

A label has no value but those listed here: whatever a job, a policy or a service of AWS calls
things, the number of series is fixed. What is not listed counts as "other".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

OTHER = "other"
_SHORT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_AGES = (60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One metric: its name without the prefix `airlock_`, and the values of each of its labels."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()

    @property
    def family(self) -> str:
        """The name that Prometheus shows; text formats add to it what the kind requires."""
        return f"airlock_{self.name}"

    def key(self, labels: Mapping[str, str]) -> tuple[str, ...]:
        """Return the values of the labels in order, those that are not listed as OTHER."""
        return tuple(
            labels[name] if labels.get(name) in values else OTHER
            for name, values in self.labels.items()
        )


OUTCOMES = (
    "passed", "failed", "cancelled", "overdue", "refused", "wrong_configuration",
    "could_not_start", "stopped", "unknown", "internal_error",
)  # fmt: skip
CONDITIONS = (
    "agent-tag", "author-team", "branch", "command", "commit", "commit-on-branch", "creator",
    "creator-email", "creator-team", "env", "organization", "plugin", "pull-request", "queue",
    "repository", "source", "step", "tag", "unblocker-team",
)  # fmt: skip
GUARDRAIL, NO_POLICY, MISMATCH, JOB = "guardrail", "no-policy", "policy-mismatch", "job"
_REASONS = (*CONDITIONS, GUARDRAIL, NO_POLICY, MISMATCH, JOB, OTHER)
PHASES = (
    "policy", "lease", "session", "engine", "directories", "firewall", "create", "start", "proof",
    "services", "builder", "delivery",
)  # fmt: skip
_SERVICES = ("sts", "ssm", "secretsmanager", "ecr")

JOBS = Metric(
    name="jobs", kind="counter",
    help="Jobs that are over, by how they ended. passed and failed are the job's own exit.",
    labels={"outcome": (*OUTCOMES, OTHER)},
)  # fmt: skip
REFUSALS = Metric(
    name="refusals", kind="counter",
    help="Refused jobs, by the condition of the nearest rule that did not hold, or what else "
    "refused them.",
    labels={"reason": _REASONS},
)  # fmt: skip
OBSERVED_REFUSALS = Metric(
    name="observed_refusals", kind="counter",
    help="Jobs that would have been refused if policy.mode were not observe, by reason.",
    labels={"reason": _REASONS},
)  # fmt: skip
VERDICTS = Metric(
    name="verdicts", kind="counter",
    help="Decisions of the agent's hook that the job's own worker got, and used or made anew.",
    labels={"result": ("used", "not_used", OTHER)},
)  # fmt: skip
PHASE_SECONDS = Metric(
    name="phase_seconds", kind="histogram",
    help="Duration of each phase of a job's start.",
    labels={"phase": (*PHASES, OTHER)}, buckets=_SHORT,
)  # fmt: skip
START_SECONDS = Metric(
    name="start_seconds", kind="histogram",
    help="Time from reading a job to its start gate, all phases together.", buckets=_SHORT,
)  # fmt: skip
FIRST_BYTE_SECONDS = Metric(
    name="first_byte_seconds", kind="histogram",
    help="Time from reading a job to the first byte of the bootstrap's output.", buckets=_SHORT,
)  # fmt: skip
INTERNAL_ERRORS = Metric(
    name="internal_errors", kind="counter",
    help="Bugs of Airlock, also those without effect on a job's result.",
)  # fmt: skip
ROUTING_REMOVALS = Metric(
    name="routing_removals", kind="counter",
    help="Times that another program removed the second protection of the metadata address.",
)  # fmt: skip
RULESET_LOADS = Metric(
    name="ruleset_loads", kind="counter",
    help="Times that the ruleset was not as it should be before a job, and was loaded.",
)  # fmt: skip
AWS_CALLS = Metric(
    name="aws_calls", kind="counter",
    help="Calls of AWS, each try counted, by service and result.",
    labels={
        "service": (*_SERVICES, OTHER),
        "result": ("ok", "throttled", "transient", "denied", "error", OTHER),
    },
)  # fmt: skip
AWS_CALL_SECONDS = Metric(
    name="aws_call_seconds", kind="histogram",
    help="Duration of calls of AWS, by service.",
    labels={"service": (*_SERVICES, OTHER)}, buckets=_SHORT,
)  # fmt: skip
SESSIONS = Metric(
    name="sessions", kind="counter", help="Sessions that STS issued, renewals included."
)
AGENT_API_CALLS = Metric(
    name="agent_api_calls", kind="counter",
    help="Calls of jobs whose rule has agent-api: OIDC tokens, secrets and other calls that were "
    "sent to Buildkite, and refused calls.",
    labels={"result": ("token", "secret", "call", "refused", OTHER)},
)  # fmt: skip
EGRESS_REFUSALS = Metric(
    name="egress_refusals", kind="counter",
    help="Lookups and packets of jobs that the list of their rule (egress) does not allow.",
    labels={"what": ("lookup", "packet", OTHER)},
)  # fmt: skip
LIMITS_HIT = Metric(
    name="connection_limits", kind="counter",
    help="Jobs that hit a limit of the network, which all jobs share: connections open at once, "
    "connections opened or queries sent in a second.",
    labels={"limit": ("open", "opened", "asked", OTHER)},
)  # fmt: skip
CACHE_ANSWERS = Metric(
    name="cache_answers", kind="counter",
    help="Answers of the caches of policies and signing keys: from the cache, fetched, old "
    "(policy.serve-stale), or failed.",
    labels={"result": ("cached", "fetched", "stale", "failed", OTHER)},
)  # fmt: skip
STALE_SECONDS = Metric(
    name="stale_policy_seconds", kind="histogram",
    help="Age of the old policies that were served because SSM did not answer.", buckets=_AGES,
)  # fmt: skip
GC_PARTS = (
    "dead jobs", "containers without a job", "fresh workspaces", "workspaces and histories",
    "records", "the audit trail", "runtime files", "images", "discarded trees",
    "prepared networks",
)  # fmt: skip
GC_REMOVALS = Metric(
    name="gc_removals", kind="counter",
    help="Things that gc removed, by kind.", labels={"kind": (*GC_PARTS, OTHER)},
)  # fmt: skip
GC_FAILURES = Metric(
    name="gc_failures", kind="counter",
    help="Things that gc could not remove, by kind.", labels={"kind": (*GC_PARTS, OTHER)},
)  # fmt: skip
CHORES = ("prepare", "pull", "gc", "networks", "meter")
CHORE_RUNS = Metric(
    name="chore_runs", kind="counter",
    help="Runs of the service's chores that are over, by result. meter never ends by itself.",
    labels={
        "chore": (*CHORES, OTHER), "result": ("ok", "failed", "killed", "overdue", OTHER),
    },
)  # fmt: skip
IMAGE_PULLS = Metric(
    name="image_pulls", kind="counter",
    help="Images that the service pulled ahead of jobs, or tried to.",
    labels={"result": ("present", "pulled", "failed", OTHER)},
)  # fmt: skip
PREPARED_NETWORKS = Metric(
    name="prepared_networks", kind="counter",
    help="Jobs of the service, by whether one of service.networks-ahead was used: none was ready, "
    "or the one that was could not be used any more.",
    labels={"result": ("used", "none_ready", "unusable", OTHER)},
)  # fmt: skip
CLIENTS = Metric(
    name="clients", kind="counter",
    help="Connections to the service's socket: accepted, or the reason for which it refused them.",
    labels={"result": (
        "accepted", "uid", "too_many", "malformed", "stopping", "failed", OTHER,
    )},
)  # fmt: skip
WORKERS_LOST = Metric(
    name="workers_lost", kind="counter",
    help="Workers that ended without reporting a status: killed, or a bug.",
)  # fmt: skip
REPORTS_LOST = Metric(
    name="reports_lost", kind="counter",
    help="Reports that did not reach these metrics, because no job waits for them.",
)  # fmt: skip
REFUSED_PACKETS = Metric(
    name="refused_packets", kind="counter",
    help="Packets of jobs that the ruleset refused. A job's proof that it is isolated is a part.",
)  # fmt: skip
RUNNING_JOBS = Metric(name="running_jobs", kind="gauge", help="Jobs that hold a lease now.")
DEAD_JOBS = Metric(
    name="dead_jobs", kind="gauge", help="Leases whose holder is dead and that are not cleared yet."
)
SLOTS = Metric(
    name="slots", kind="gauge", help="Jobs that may run at once (sandbox.slots), and those taken.",
    labels={"state": ("configured", "taken")},
)  # fmt: skip
DISK_BYTES = Metric(
    name="disk_bytes", kind="gauge",
    help="The filesystem of paths.state: free, and what has to be (storage.min-free, floor).",
    labels={"what": ("free", "min_free", "floor")},
)  # fmt: skip
DISK_INODES = Metric(
    name="disk_inodes", kind="gauge",
    help="The same in inodes; free is NaN where none are counted.",
    labels={"what": ("free", "min_free", "floor")},
)  # fmt: skip
RUNTIME_BYTES = Metric(
    name="runtime_bytes", kind="gauge",
    help="The filesystem of paths.runtime, in memory.", labels={"what": ("free", "size")},
)  # fmt: skip
POLICY_AGE = Metric(
    name="cached_policy_age_seconds", kind="gauge",
    help="Seconds since the newest and the oldest cached answer was fetched; NaN if there is none.",
    labels={"which": ("newest", "oldest")},
)  # fmt: skip
GC_LAST = Metric(
    name="gc_last_success_timestamp_seconds", kind="gauge",
    help="When gc last ended without a failure; 0 if it has not since this machine started.",
)  # fmt: skip
SERVICE_STARTS = Metric(
    name="service_starts", kind="counter",
    help="Starts of the service since this machine started, reloads and upgrades included.",
)  # fmt: skip
SERVICE_STARTED = Metric(
    name="service_start_timestamp_seconds", kind="gauge", help="When the service started."
)
WRITTEN = Metric(
    name="metrics_timestamp_seconds", kind="gauge", help="When these metrics were written."
)

ALL = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
BY_NAME = {metric.name: metric for metric in ALL}
