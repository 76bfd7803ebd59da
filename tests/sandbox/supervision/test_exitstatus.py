"""From how a container ended to the status that the agent sees and the line in the log."""

from signal import Signals

import pytest

from bootstrap.log import JobLog
from bootstrap.sandbox.model import Breached, Cancelled, Ended, Evicted, Exited, Overdue, Unknown
from bootstrap.sandbox.supervision.exitstatus import DieBy, ExitStatus, ExitWith, explain, resolve
from bootstrap.sandbox.supervision.signals import CANCEL, translated

TERM, KILL, HUP = Signals.SIGTERM, Signals.SIGKILL, Signals.SIGHUP


@pytest.mark.parametrize(
    ("ended", "status"),
    [
        *((Exited(code=code, out_of_memory=False), ExitWith(code=code, whose="job"))
          for code in (0, 1, 7, 70, 77, 78, 125, 137, 143, 255)),
        (Cancelled(by=TERM, forwarded=TERM, code=143), DieBy(signal=TERM, whose="job")),
        (Cancelled(by=HUP, forwarded=TERM, code=143), DieBy(signal=TERM, whose="job")),
        (Cancelled(by=TERM, forwarded=TERM, code=0), ExitWith(code=0, whose="job")),
        (Cancelled(by=TERM, forwarded=TERM, code=3), ExitWith(code=3, whose="job")),
        (Overdue(by=TERM, after=7.5), DieBy(signal=KILL, whose="airlock")),
        (Breached(why="x"), ExitWith(code=125, whose="airlock")),
        (Evicted(why="x"), ExitWith(code=125, whose="airlock")),
        (Exited(code=143, out_of_memory=None), ExitWith(code=143, whose="job")),
        (Unknown(why="x"), ExitWith(code=79, whose="airlock")),
    ],
)  # fmt: skip
def test_ending_resolves_to_the_status_the_agent_sees(ended: Ended, status: ExitStatus) -> None:
    assert resolve(ended) == status


def explanation(ended: Ended) -> str:
    written: list[bytes] = []
    explain(ended, JobLog(written.append))
    return b"".join(written).decode()


@pytest.mark.parametrize(
    ("ended", "problem", "whose"),
    [
        (Exited(code=137, out_of_memory=True), "raise allow.limits.memory", "the job's own"),
        (
            Exited(code=143, out_of_memory=None),
            "ended by SIGTERM, and Docker does not",
            "the job's own",
        ),
        (
            Exited(code=137, out_of_memory=None),
            "ended by SIGKILL, and Docker does not",
            "the job's own",
        ),
        (Exited(code=143, out_of_memory=False), "143 is the status of SIGTERM", "the job's own"),
        (Exited(code=137, out_of_memory=False), "137 is the status of SIGKILL", "the job's own"),
        (Exited(code=3, out_of_memory=None), "whether the job ran out of memory", "the job's own"),
        (Unknown(why="no answer"), "is not known: no answer", "Exit status 79 is Airlock's"),
        (Overdue(by=TERM, after=7.5), "it still ran 7.5 s after SIGTERM", "killed by Airlock"),
        (Breached(why="it is gone"), "the job was stopped: it is gone", "status is not the job's"),
        (Evicted(why="no space"), "the job was stopped: no space", "status is not the job's"),
    ],
)
def test_ending_not_shown_by_the_output_is_explained(
    ended: Ended, problem: str, whose: str
) -> None:
    text = explanation(ended)
    assert problem in text
    assert whose in text


@pytest.mark.parametrize("ended", [Breached(why="it is gone"), Evicted(why="no space")])
def test_a_job_that_ran_is_stopped_and_did_not_fail_to_start(ended: Ended) -> None:
    assert explanation(ended).startswith("+++ :no_entry: Airlock: Stopped the job\n")


@pytest.mark.parametrize(
    "ended",
    [
        Exited(code=0, out_of_memory=False),
        Exited(code=0, out_of_memory=None),
        Exited(code=255, out_of_memory=False),
        Cancelled(by=TERM, forwarded=TERM, code=143),
    ],
)
def test_ordinary_ending_adds_nothing_to_the_log(ended: Ended) -> None:
    assert explanation(ended) == ""


def test_every_cancel_signal_is_translated_to_one_that_the_bootstrap_handles() -> None:
    known = {Signals.SIGTERM, Signals.SIGINT, Signals.SIGQUIT}
    assert {translated(signal) for signal in CANCEL} == known
