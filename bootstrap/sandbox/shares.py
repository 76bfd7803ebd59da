"""How a job's container and its BuildKit divide what they may use of the host.

Of guardrails' `limits`, which bind all containers of a job together, `Grant.at_most` is what the
services of the rule leave to these two (docs/policy.md#guardrails).
"""

from dataclasses import dataclass
from typing import TypeVar

from bootstrap.host.builds_settings import Builds
from bootstrap.host.config import Sandbox
from bootstrap.policy.model import Grant

N = TypeVar("N", int, float)


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """The limits of one container."""

    memory: int  # bytes
    cpus: float
    pids: int


def of_job(grant: Grant, defaults: Sandbox) -> Share:
    """Return the rule's limits; for those that it leaves out the host's, as far as these go.

    Of what guardrails leave, such a job gets at most a half where it also has BuildKit.
    """
    own, most, parts = grant.limits, grant.at_most, 2 if grant.builds else 1
    return Share(
        memory=own.memory or _least(defaults.memory, most.memory and most.memory // parts),
        cpus=own.cpus or _least(defaults.cpus, most.cpus and most.cpus / parts),
        pids=own.pids or _least(defaults.pids, most.pids and most.pids // parts),
    )


def of_builder(grant: Grant, defaults: Sandbox, builds: Builds) -> Share:
    """Return the limits of the job's BuildKit: the host's, as far as the job's own leave them."""
    job, most = of_job(grant, defaults), grant.at_most
    return Share(
        memory=_least(builds.memory or defaults.memory, most.memory and most.memory - job.memory),
        cpus=_least(builds.cpus or defaults.cpus, most.cpus and most.cpus - job.cpus),
        pids=_least(builds.pids or defaults.pids, most.pids and most.pids - job.pids),
    )


def _least(limit: N, most: N | None) -> N:
    return limit if most is None else min(limit, most)
