"""One job, or one decision for the hook, in a process that the service has forked for it.

The process has everything loaded. It must read no file of Airlock's own any more: an upgrade may
replace them while it runs.
"""

import gc
import os
import socket
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import NoReturn

from bootstrap.caller import Caller, Decided
from bootstrap.commands.admit import admission_status
from bootstrap.commands.bootstrap import job_status
from bootstrap.errors import AirlockError, InternalError
from bootstrap.host import oom
from bootstrap.log import JobLog, to_descriptor
from bootstrap.metrics import catalogue, report
from bootstrap.sandbox.leases import lease
from bootstrap.sandbox.supervision.exitstatus import ExitStatus, ExitWith
from bootstrap.service import children, request
from bootstrap.service.configuration import Configuration
from bootstrap.service.control import Control
from bootstrap.service.launcher import Launcher
from bootstrap.service.request import Request
from bootstrap.service.verdict import admit_by, unpacked, verdict

JOB = "BUILDKITE_JOB_ID"
NAME = "worker"


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """What a worker gets when it is forked."""

    connection: socket.socket
    channel: socket.socket
    reaper: int  # by which the service's reaper notices this process's end
    uid: int
    configuration: Configuration

    def run(self) -> NoReturn:
        """Do what the launcher requests, and end this process."""
        children.be_named(NAME)
        control, launcher = Control(self.channel), Launcher(self.connection)
        if not control.wait():
            os._exit(1)
        _settle()
        report.to(self.configuration.last_valid.paths.runtime)
        try:
            wanted = request.receive(self.connection)
        except AirlockError as malformed:
            report.report(catalogue.CLIENTS, result="malformed")
            control.done()
            launcher.refused(malformed)
            os._exit(1)
        _take_stdio(wanted)
        status = self._status(wanted, control, launcher)
        _release_stdio()
        control.done()
        launcher.ended(status)
        os._exit(0)

    def _status(self, wanted: Request, control: Control, launcher: Launcher) -> ExitStatus:
        """Return the status, whatever happens: without one the launcher could not say why."""
        try:
            caller = Caller(
                host=self.configuration.host, signals=launcher.signals,
                begun=partial(_begun, control, launcher), uid=self.uid,
            )  # fmt: skip
            if wanted.command == "admit":
                return self._decision(wanted, caller, control)
            return self._job(wanted, caller, control)
        except BaseException as bug:  # noqa: BLE001 - see above
            return _failed(bug)

    def _decision(self, wanted: Request, caller: Caller, control: Control) -> ExitStatus:
        caller = replace(caller, decided=partial(self._keep, control))
        try:
            code = admission_status(caller, wanted.env, to_descriptor(1))
        except AirlockError as error:
            to_descriptor(2)(f"{_sentence(error)}\n".encode("utf-8", "replace"))
            code = error.exit_code
        return ExitWith(code=code, whose="airlock")

    def _keep(self, control: Control, decided: Decided) -> None:
        """Keep the decision for the job's own worker. Without it that decides again."""
        with suppress(Exception):
            generation = self.configuration.generation
            control.keep(decided.claims.job_id, verdict(decided, generation).packed())

    def _job(self, wanted: Request, caller: Caller, control: Control) -> ExitStatus:
        caller = replace(
            caller, reaper=lambda host, token: lease.watching(host, token, self.reaper)
        )
        if packed := control.kept(wanted.env.get(JOB, "")):
            admit = admit_by(unpacked(packed), self.configuration.generation)
            caller = replace(caller, admit=admit)
        caller = replace(caller, prepared=True)
        control.turn(self.connection.fileno())
        return job_status(caller, wanted.env, 1)


def _begun(control: Control, launcher: Launcher) -> None:
    launcher.begun()
    control.begun()


def _settle() -> None:
    """Become a process as the agent would have started it, in memory that stays shared."""
    gc.enable()
    os.chdir("/")
    with suppress(OSError):
        oom.be_ordinary()


def _take_stdio(wanted: Request) -> None:
    for number, descriptor in enumerate(wanted.stdio):
        os.dup2(descriptor, number)
        os.close(descriptor)


def _release_stdio() -> None:
    """Close the job's output: the agent waits for that, beside the launcher's end."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)


def _sentence(error: AirlockError) -> str:
    return "\n".join((f"airlock: {error.problem}", *error.details, error.hint))


def _failed(bug: BaseException) -> ExitStatus:
    """Report a bug in the worker itself; one in the job's way is recorded there."""
    error = InternalError(
        f"{type(bug).__name__}: {bug}", hint="Please report it, with this line of the job's log."
    )
    JobLog(to_descriptor(1)).failure(error)
    return ExitWith(code=error.exit_code, whose="airlock")
