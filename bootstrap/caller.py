"""What a job gets from the process that runs it: one of its own, or a worker of the service."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bootstrap import admission
from bootstrap.host import config
from bootstrap.host.config import Host
from bootstrap.job.model import Agent, Claims
from bootstrap.policy.model import Admitted
from bootstrap.record import Record
from bootstrap.sandbox.supervision.signals import Cancellation, cancellation


@dataclass(frozen=True, kw_only=True, slots=True)
class Decided:
    """What `airlock admit` decided: the claims as read and as confirmed, and what the job gets."""

    claims: Claims
    confirmed: Claims
    admitted: Admitted
    agent: Agent
    record: Record


def _reaper(host: Host, token: str) -> AbstractContextManager[None]:
    from bootstrap.sandbox.leases import lease  # noqa: PLC0415 - `airlock admit` needs none of it

    return lease.reaper(host, token)


def _nobody(*_: object) -> None:
    """Take what nobody waits for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Where the configuration comes from, who signals, and who is to know what.

    `begun` is called before anything of the job runs: from then on its end may be unknown.
    `decided` is called when `airlock admit` admits the job. `uid` is the user of the agent, who
    owns the job's environment files. `exposed` is whether a job's variables act on the program that
    the agent starts: they do on an interpreter, and not on the launcher. `prepared` is whether a
    network namespace that a chore has prepared may be used.
    """

    host: Callable[[], Host]
    signals: Callable[[], AbstractContextManager[Cancellation]] = cancellation
    begun: Callable[[], object] = _nobody
    admit: admission.Admit = admission.admit
    reaper: Callable[[Host, str], AbstractContextManager[None]] = _reaper
    decided: Callable[[Decided], object] = _nobody
    uid: int = field(default_factory=os.geteuid)
    exposed: bool = False
    prepared: bool = False


def alone(config_path: Path) -> Caller:
    """Return the caller of a job that has a process of its own, which is what the agent started."""
    return Caller(host=partial(config.load, config_path), exposed=True)
