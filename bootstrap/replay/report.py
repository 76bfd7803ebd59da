"""What a developer reads after a replay: how it ended, where the time went, what is different."""

from bootstrap.log import JobLog
from bootstrap.replay import compare, results
from bootstrap.replay.model import ReplayInput
from bootstrap.replay.options import Options
from bootstrap.replay.phases import shown
from bootstrap.replay.result import Result


def report(
    found: ReplayInput, result: Result, options: Options, log: JobLog, *, columns: int | None
) -> None:
    """Print it, in the order in which a developer asks; `columns` is the width of a terminal."""
    log.group("Replay")
    for line in shown(result.phases).splitlines():
        log.note(line)
    if result.ended.out_of_memory:
        log.alert("the job ran out of memory: its limit is that of the recorded run, if it has one")
    by = f", ended by {result.ended.cancelled.name}" if result.ended.cancelled else ""
    log.note(f"exit status {result.ended.code}{by}, after {result.ended.seconds:.1f} s")
    if listed := results.listed(result.results):
        log.note(f"in {result.results}: {listed}")
    if result.kept:
        log.note(f"the checkout was kept: {result.kept}")
    if options.compare:
        _compare(found, result, log, columns)


def _compare(found: ReplayInput, result: Result, log: JobLog, columns: int | None) -> None:
    try:
        rows = compare.rows(found, result)
    except OSError as unreadable:
        log.alert(f"both runs cannot be compared: {unreadable}")
        return
    for line in compare.table(rows, columns):
        log.note(line)
