"""`airlock replay`: run a job again on a developer's machine."""

import os
from collections.abc import Mapping

from bootstrap.log import JobLog, Write, to_descriptor
from bootstrap.replay import agent_api, machine, report, run, shell
from bootstrap.replay.inputs import needed
from bootstrap.replay.inputs.read import read_input
from bootstrap.replay.interruption import Interruption
from bootstrap.replay.model import InputOptions
from bootstrap.replay.options import Options, Shell
from bootstrap.sandbox.supervision.signals import CancelledEarly, cancellation_of

_LOG = 2  # standard error: standard output has the job's bytes and nothing else


def replay(
    *,
    source: str,
    asked: InputOptions,
    options: Options,
    process_env: Mapping[str, str],
    out: int,
) -> int:
    """Replay the job and return its status; 128 and the signal's number if it was interrupted."""
    log = JobLog(_on_raw_terminal(to_descriptor(_LOG)))
    with cancellation_of(Interruption) as requested:
        try:
            with requested.interrupting():
                found = read_input(source, process_env, asked)
                for line in needed.summary(found):
                    log.note(line)
                here = machine.machine(options, process_env)
                if options.shell is not Shell.NEVER:
                    shell.require_terminal(here.terminal)
            result = run.replay(
                found, options, here, agent_api.offline(found, options, log), log=log,
                cancellation=requested, out=out,
            )  # fmt: skip
        except CancelledEarly as cancelled:
            log.note("ended before the job began")
            return 128 + cancelled.by
    report.report(found, result, options, log)
    if requested.insisted and requested.first is not None:
        return 128 + requested.first  # the job was killed, and its status says no more than that
    return result.ended.code


def _on_raw_terminal(write: Write) -> Write:
    """Return a writer for a terminal that may be raw at that moment: it begins no line itself."""
    if not os.isatty(_LOG):
        return write
    return lambda line: write(line.replace(b"\n", b"\r\n"))
