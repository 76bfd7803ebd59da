"""What the hook's worker decided about a job, for the worker that runs it.

Both read the job's environment files. Only if they found the same claims does the decision count
for the job, so that what was checked is what is used.
"""

import hashlib
import pickle
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bootstrap import admission
from bootstrap.caller import Decided
from bootstrap.host.config import Host
from bootstrap.job.digest import digest
from bootstrap.job.model import Agent, Claims
from bootstrap.log import JobLog
from bootstrap.policy.model import Admitted
from bootstrap.record import Record

LIFETIME = 60.0  # seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """A job that was admitted: by which claims, when, and under which configuration."""

    claims: Claims  # as they were read
    confirmed: Claims
    admitted: Admitted
    token: str  # the SHA-256 of its access token
    events: Sequence[Mapping[str, Any]]  # of the job's record
    generation: int
    decided: float  # time.monotonic()

    def packed(self) -> bytes:
        """Return it as bytes, for another process of the same service."""
        return pickle.dumps(self)


def unpacked(data: bytes) -> Verdict:
    """Return a verdict that another worker of this service has packed."""
    found = pickle.loads(data)  # noqa: S301 - from a process of ours, in memory only we can write
    assert isinstance(found, Verdict)  # noqa: S101
    return found


def verdict(decided: Decided, generation: int) -> Verdict:
    """Return what was just decided, under this generation of the configuration."""
    return Verdict(
        claims=decided.claims,
        confirmed=decided.confirmed,
        admitted=decided.admitted,
        token=_token(decided.agent),
        events=decided.record.events,
        generation=generation,
        decided=time.monotonic(),
    )


def admit_by(found: Verdict, generation: int) -> admission.Admit:
    """Return an `admission.admit` that takes the verdict if it is about the same, or else decides.

    Either way the audit trail gets an event `verdict`, with the digest of the claims.
    """

    def admit(
        claims: Claims, agent: Agent, host: Host, record: Record, log: JobLog
    ) -> tuple[Claims, Admitted]:
        age = time.monotonic() - found.decided
        why = _difference(found, claims, agent, generation, age)
        admission.record_job(claims, agent, record)
        admission.check_token(agent, host, log)
        record.verdict(claims=digest(claims, agent.values), used=not why, why=why, age=age,
                       before=() if why else found.events)  # fmt: skip
        if why:
            log.note(f"the hook's decision does not count: {why}")
            return admission.admit(claims, agent, host, record, log)
        record.timed("policy")
        return found.confirmed, found.admitted

    return admit


def _difference(found: Verdict, claims: Claims, agent: Agent, generation: int, age: float) -> str:
    """Return why the verdict does not count, "" if it does."""
    if found.claims != claims:
        return f"the job is not as it was then: {', '.join(_differing(found.claims, claims))}"
    if found.token != _token(agent):
        return "the job has another access token"
    if found.generation != generation:
        return "airlock.toml has changed"
    if age > LIFETIME:
        return f"it is {age:.0f} s old, more than {LIFETIME:.0f} s"
    return ""


def _differing(one: Claims, other: Claims) -> list[str]:
    """Name what differs: the fields, and of the environment at most a few variables."""
    names = {**one.env, **other.env}
    variables = sorted(name for name in names if one.env.get(name) != other.env.get(name))
    fields = (name for name in Claims.__dataclass_fields__ if name != "env")
    return [*(f for f in fields if getattr(one, f) != getattr(other, f)), *variables[:5]]


def _token(agent: Agent) -> str:
    return hashlib.sha256(agent.token.reveal().encode("utf-8", "surrogateescape")).hexdigest()
