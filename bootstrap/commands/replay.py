"""`airlock replay`: run a job again on a developer's machine."""

import os
from collections.abc import Mapping
from dataclasses import replace

from bootstrap import colour
from bootstrap.errors import Refused
from bootstrap.log import Write, to_descriptor
from bootstrap.replay import agent_api, checkout, compare, machine, report, run, shell
from bootstrap.replay.inputs import needed
from bootstrap.replay.inputs.read import read_input
from bootstrap.replay.interruption import Interruption
from bootstrap.replay.model import InputOptions, ReplayInput
from bootstrap.replay.options import Options, Shell
from bootstrap.replay.persons_log import PersonsLog
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
    colours = colour.is_wanted(process_env, terminal=os.isatty(_LOG))
    log = PersonsLog(_on_raw_terminal(to_descriptor(_LOG)), colours=colours)
    with cancellation_of(Interruption) as requested:
        try:
            with requested.interrupting():
                found = read_input(source, process_env, _with_checkout(asked, options))
                needed.require_complete(found)
                if options.compare:
                    compare.require_something(found)
                for line in (*needed.summary(found), *refusal(found)):
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
    report.report(found, result, options, log, columns=_columns())
    if requested.insisted and requested.first is not None:
        return 128 + requested.first  # the job was killed, and its status says no more than that
    return result.ended.code


def _with_checkout(asked: InputOptions, options: Options) -> InputOptions:
    """Return what is asked for, with the commit of the working copy for an input that has none."""
    if options.checkout is None:
        return asked
    working_copy = checkout.of_developer(options.checkout)
    return replace(asked, fallback=checkout.described(working_copy))


def _columns() -> int | None:
    """Return the width of the terminal, None if standard error is not one."""
    try:
        return os.get_terminal_size(_LOG).columns or None
    except OSError:
        return None


def refusal(found: ReplayInput) -> tuple[str, ...]:
    """Return a line if the recorded job never ran: a replay decides nothing, and runs it."""
    if found.ended is None or found.ended.code != Refused.exit_code or found.ended.whose == "job":
        return ()
    why = f" ({found.ended.problem})" if found.ended.problem else ""
    return (f"this job was refused and never ran{why}; `airlock why` has the reasons",)


def _on_raw_terminal(write: Write) -> Write:
    """Return a writer for a terminal that may be raw at that moment: it begins no line itself."""
    if not os.isatty(_LOG):
        return write
    return lambda line: write(line.replace(b"\n", b"\r\n"))
