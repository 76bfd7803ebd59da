"""One pytest of several that run at the same time: its process, its log, its results."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.side_by_side import results
from tests.side_by_side.plan import ROOT

_PROGRESS = re.compile(rb"tests/\S+\.py .*")
_FINDINGS = re.compile(r"^=+ (?:FAILURES|ERRORS) =+$", re.MULTILINE)
_ENDS_WITHIN = 90  # seconds after an interrupt: fixtures stop agents, jobs and dockerd


@dataclass(kw_only=True, slots=True)
class Stage:
    """A pytest that runs until it ends by itself or is sent a signal."""

    name: str
    log: Path
    written: Path  # its results
    process: subprocess.Popen[bytes]
    shown: int = field(default=0)  # bytes of the log

    def progress(self) -> list[str]:
        """Return the lines of files that it has finished since the last call."""
        with self.log.open("rb") as log:
            log.seek(self.shown)
            whole, newline, _ = log.read().rpartition(b"\n")
        self.shown += len(whole + newline)
        return [line.decode() for line in whole.split(b"\n") if _PROGRESS.fullmatch(line)]

    def send(self, number: signal.Signals) -> None:
        """Send the signal unless it has ended."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def end(self) -> None:
        """Wait for the end that an interrupt leads to; kill it if that takes too long."""
        try:
            self.process.wait(_ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            self.process.wait()

    def outcome(self) -> tuple[results.Results | None, str]:
        """Return its results, and what is wrong with it as a run; "" if all is well."""
        status = self.process.wait()
        try:
            found = results.read(self.written)
        except (OSError, ValueError):
            return None, f"it ended with {status} before it could write its results"
        if not any(one.outcome == "passed" for one in found.outcomes):
            return found, "no test passed"
        return found, "" if status == 0 else f"it ended with {status}"

    def findings(self) -> str:
        """Return what pytest reports of failures, or else the end of the log."""
        text = self.log.read_text(errors="replace")
        found = _FINDINGS.search(text)
        return text[found.start() :] if found else text[-4000:]


def begin(
    name: str, logs: Path, selection: Sequence[str], prefix: Sequence[str], held: int
) -> Stage:
    """Start pytest for the selection of tests; `prefix` is put in front of the command.

    The file descriptor `held` stays open for as long as anything of the stage runs.
    """
    log, written = logs / f"{name}.log", logs / f"{name}.json"
    command = [
        *prefix, sys.executable, "-m", "pytest", "-p", "no:cacheprovider",
        "--results", str(written), *selection,
    ]  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True, pass_fds=(held,),
        )  # fmt: skip
    return Stage(name=name, log=log, written=written, process=process)
