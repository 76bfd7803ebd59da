"""From how a room ended to the status that the agent sees (docs/agent-contract.md#exit-status)."""

from dataclasses import dataclass
from signal import Signals
from typing import assert_never

from bootstrap.errors import CannotStart
from bootstrap.log import JobLog
from bootstrap.sandbox.model import Breached, Cancelled, Ended, Evicted, Exited, Overdue


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


def resolve(ended: Ended) -> ExitStatus:
    """Say how we must end so that the agent records what it would record without us."""
    match ended:
        case Exited(code=code):
            return ExitWith(code=code, whose="job")
        case Cancelled(forwarded=signal, code=code) if code == 128 + signal:
            return DieBy(signal=signal, whose="job")
        case Cancelled(code=code):
            return ExitWith(code=code, whose="job")
        case Overdue():
            return DieBy(signal=Signals.SIGKILL, whose="airlock")
        case Breached() | Evicted():
            return ExitWith(code=CannotStart.exit_code, whose="airlock")
        case _:
            assert_never(ended)


def explain(ended: Ended, log: JobLog) -> None:
    """Say in the job's log what its own output cannot say: who ended it, and why."""
    match ended:
        case Exited(out_of_memory=True):
            log.alert("the room ran out of memory: raise allow.limits.memory, or use less")
        case Overdue(by=by, after=after):
            log.alert(f"{by.name} was not obeyed within {after:.1f} s: the room was killed")
        case Breached(why=why):
            log.failure(
                CannotStart(
                    f"the job was stopped: {why}",
                    hint="Find what changes nftables on this host (`nft monitor`), then retry.",
                )
            )
        case Evicted(why=why):
            log.failure(
                CannotStart(
                    f"the job was stopped: {why}",
                    hint="Have the job write less, or enlarge the disk; storage.floor in "
                    "airlock.toml says what has to stay free. Its workspace was thrown away.",
                )
            )
        case Exited() | Cancelled():
            return
        case _:
            assert_never(ended)
