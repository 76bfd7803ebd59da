"""From how a container ended to the status that the agent sees.

Reference: docs/agent-contract.md#exit-status
"""

from dataclasses import dataclass
from signal import Signals
from typing import assert_never

from bootstrap.errors import CannotStart, StatusUnknown, Stopped
from bootstrap.log import JobLog
from bootstrap.sandbox.model import (
    Abandoned,
    Breached,
    Cancelled,
    Ended,
    Evicted,
    Exited,
    Overdue,
    Unknown,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExitWith:
    """End with this exit status. `whose` is "job" or "airlock"."""

    code: int
    whose: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DieBy:
    """End by this signal, as the bootstrap itself does when it is cancelled."""

    signal: Signals
    whose: str


ExitStatus = ExitWith | DieBy

# The statuses of jobs that an engine has stopped: SIGTERM first, SIGKILL after a while.
_STOPPED = {128 + signal: signal for signal in (Signals.SIGTERM, Signals.SIGKILL)}


def resolve(ended: Ended) -> ExitStatus:
    """Return how Airlock must end so that the agent records what it would without Airlock."""
    match ended:
        case Exited(code=code):
            return ExitWith(code=code, whose="job")
        case Cancelled(forwarded=signal, code=code) if code == 128 + signal:
            return DieBy(signal=signal, whose="job")
        case Cancelled(code=code):
            return ExitWith(code=code, whose="job")
        case Overdue() | Abandoned():
            return DieBy(signal=Signals.SIGKILL, whose="airlock")
        case Breached() | Evicted():
            return ExitWith(code=CannotStart.exit_code, whose="airlock")
        case Unknown():
            return ExitWith(code=StatusUnknown.exit_code, whose="airlock")
        case _:
            assert_never(ended)


def explain(ended: Ended, log: JobLog) -> None:
    """Print in the job's log what its own output does not show: who ended it, and why.

    The line also says whether the status is the job's or Airlock's. A job that ended by itself, or
    in time after its cancellation, gets no line, unless its status is that of a signal that Docker
    or an operator may have sent.
    """
    match ended:
        case Exited(out_of_memory=True):
            log.alert(
                "the job ran out of memory: raise allow.limits.memory in its rule, or have the job "
                "use less. The exit status is the job's own"
            )
        case Exited(code=code, out_of_memory=None) if code in _STOPPED:
            log.alert(
                f"the job was ended by {_STOPPED[code].name}, and Docker does not answer: it may "
                "have been stopped or restarted, which ends its containers. The exit status is "
                "the job's own"
            )
        case Exited(code=code, out_of_memory=False) if code in _STOPPED:
            log.note(
                f"{code} is the status of {_STOPPED[code].name}. Neither Airlock nor the memory "
                "limit ended the job: a process of its own did, or Docker on this host was "
                "stopped, restarted or asked to end the container. The exit status is the job's own"
            )
        case Exited(code=code, out_of_memory=None) if code != 0:
            log.alert(
                "whether the job ran out of memory is not known: Docker did not answer. The exit "
                "status is the job's own"
            )
        case Overdue(by=by, after=after):
            log.alert(
                f"the job was killed by Airlock: it still ran {after:.1f} s after {by.name}. "
                "The agent sees SIGKILL, which is not a status of the job"
            )
        case Breached(why=why):
            log.failure(
                Stopped(
                    f"the job was stopped: {why}",
                    hint="Airlock killed it: this status is not the job's. Find the program that "
                    "changes nftables (`nft monitor`) or ends containers (`docker events`) on this "
                    "host, then retry.",
                )
            )
        case Evicted(why=why):
            log.failure(
                Stopped(
                    f"the job was stopped: {why}",
                    hint="Airlock killed it: this status is not the job's. Its workspace was "
                    "discarded. Have the job use less of what is named above. Of the disk, "
                    "storage.floor in airlock.toml is the space that has to stay free.",
                )
            )
        case Unknown(why=why):
            log.failure(_status_unknown(why))
        case Exited() | Cancelled() | Abandoned():
            return
        case _:
            assert_never(ended)


def _status_unknown(why: str) -> StatusUnknown:
    return StatusUnknown(
        f"the job ran, and how it ended is not known: {why}",
        hint="It may have succeeded. Before you retry it, look at the end of its log and at what "
        "it should have changed: a deployment may be complete.",
        details=("its processes have ended",),
    )
