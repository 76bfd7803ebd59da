"""What an event of the audit trail counts as."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bootstrap.metrics import catalogue as metrics
from bootstrap.metrics.catalogue import Metric

_BY_STATUS = {
    77: "refused", 78: "wrong_configuration", 125: "could_not_start", 70: "internal_error",
    79: "unknown",
}  # fmt: skip
_BY_END = {
    "cancelled": "cancelled", "overdue": "overdue", "breached": "stopped", "evicted": "stopped",
    "unknown": "unknown",
}  # fmt: skip
_ALWAYS = {
    "session": metrics.SESSIONS, "routing": metrics.ROUTING_REMOVALS,
    "internal_error": metrics.INTERNAL_ERRORS,
}  # fmt: skip


class Sample(NamedTuple):
    """An amount to add to one series of a counter or histogram."""

    metric: Metric
    labels: Mapping[str, str]
    amount: float = 1.0


def samples(
    name: str, fields: Mapping[str, Any], before: Sequence[Mapping[str, Any]]
) -> Iterator[Sample]:
    """Yield what an event adds. `before` are the job's earlier events.

    A refusal is counted when it is decided: `airlock admit` in the agent's hook writes no other
    event for it, and `airlock bootstrap` a second one.
    """
    match name:
        case "denied" if fields["enforced"]:
            yield Sample(metrics.REFUSALS, {"reason": _reason(fields)})
            yield Sample(metrics.JOBS, {"outcome": "refused"})
        case "denied":
            yield Sample(metrics.OBSERVED_REFUSALS, {"reason": _reason(fields)})
        case "failed":
            is_counted = any(e["event"] == "denied" and e["enforced"] for e in before)
            yield from _failed(fields, is_counted=is_counted)
        case "ended":
            yield Sample(metrics.JOBS, {"outcome": _ended(fields)})
        case "cancelled":
            yield Sample(metrics.JOBS, {"outcome": "cancelled"})
        case "verdict":
            result = "used" if fields["used"] else "not_used"
            yield Sample(metrics.VERDICTS, {"result": result})
        case "agent_api" | "egress" | "connections":
            yield from _USES[name](fields)
        case "sandbox":
            yield from _started(fields)
        case _ if name in _ALWAYS:
            yield Sample(_ALWAYS[name], {})


def _failed(fields: Mapping[str, Any], *, is_counted: bool) -> Iterator[Sample]:
    outcome = _BY_STATUS.get(fields["exit_code"], metrics.OTHER)
    if outcome == "internal_error":
        yield Sample(metrics.INTERNAL_ERRORS, {})
    if outcome == "refused":
        if is_counted:
            return
        yield Sample(metrics.REFUSALS, {"reason": metrics.JOB})
    yield Sample(metrics.JOBS, {"outcome": outcome})


def _ended(fields: Mapping[str, Any]) -> str:
    kind = fields["ended"]["kind"]
    if kind == "exited":
        return "passed" if fields["ended"].get("code") == 0 else "failed"
    return _BY_END.get(kind, metrics.OTHER)


def _calls(fields: Mapping[str, Any]) -> Iterator[Sample]:
    """Yield how often a job's gateway did what; nothing of what it did not do."""
    amounts = {
        "token": sum(fields["tokens"].values()),
        "secret": sum(fields["secrets"].values()),
        "call": sum(fields["calls"].values()),
        "refused": fields["refusals"],
    }
    for result, amount in amounts.items():
        if amount:
            yield Sample(metrics.AGENT_API_CALLS, {"result": result}, amount)


def _refused(fields: Mapping[str, Any]) -> Iterator[Sample]:
    if fields["mode"] != "enforce":
        return
    packets = fields["refused_packets"]
    for what, amount in (("lookup", fields["refusals"] - packets), ("packet", packets)):
        if amount:
            yield Sample(metrics.EGRESS_REFUSALS, {"what": what}, amount)


def _limits(fields: Mapping[str, Any]) -> Iterator[Sample]:
    for limit in ("open", "opened", "asked"):
        if fields[f"over_{limit}"]:
            yield Sample(metrics.LIMITS_HIT, {"limit": limit})


_USES = {"agent_api": _calls, "egress": _refused, "connections": _limits}


def _started(fields: Mapping[str, Any]) -> Iterator[Sample]:
    timings: Mapping[str, float] = fields["timings"]
    for phase, seconds in timings.items():
        yield Sample(metrics.PHASE_SECONDS, {"phase": phase}, seconds)
    yield Sample(metrics.START_SECONDS, {}, sum(timings.values()))
    if fields.get("firewall_reloaded"):
        yield Sample(metrics.RULESET_LOADS, {})


def _reason(denied: Mapping[str, Any]) -> str:
    """Return the first condition that failed in the nearest rule, or what else refused the job."""
    failed = (
        reason["subject"].partition(" ")[0]
        for reason in denied["reasons"]
        if not reason["holds"] and reason["rule"] == denied["nearest"]
    )
    found = next(failed, None)
    if found is not None:
        return str(found)
    return metrics.MISMATCH if denied["policy"]["origin"] else metrics.NO_POLICY
