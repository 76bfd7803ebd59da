"""Every way in which Airlock itself ends a job, each with its exit status.

    AirlockError
    ├── Refused              77  policy does not admit the job; retrying changes nothing
    ├── WrongConfiguration   78  host configuration, policy document or job file is wrong
    ├── CannotStart         125  Docker, image, AWS or the network proof failed; worth a retry
    │   ├── NoAnswer             a service did not answer; what it answered before may be used
    │   └── Stopped              the job ran, and Airlock had to stop it
    ├── InternalError        70  a bug in Airlock, before the job began
    └── StatusUnknown        79  the job ran, and nothing reports how it ended

The job's own status is never an exception: it is a value (`sandbox.exitstatus`). Status 125 becomes
`-1/process_run_error` in agents >= 3.121.1 (docs/agent-contract.md#exit-status).
"""

from typing import ClassVar


class AirlockError(Exception):
    """A failure or refusal because of which Airlock ends the job, or does not start it.

    `problem` is what happened, with got and expected; `hint` is what to do next; `docs` is the
    README's anchor that explains it. None of them may contain a secret.
    """

    exit_code: ClassVar[int]
    title: ClassVar[str]
    docs: ClassVar[str]

    def __init__(self, problem: str, *, hint: str, details: tuple[str, ...] = ()) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint
        self.details = details


class Refused(AirlockError):
    """No rule admits this job, or it brings what no job may bring."""

    exit_code = 77
    title = "Refused by policy"
    docs = "refused"


class WrongConfiguration(AirlockError):
    """A configuration, policy or job file has to be corrected before a job can start."""

    exit_code = 78
    title = "Wrong configuration"
    docs = "wrong-configuration"


class CannotStart(AirlockError):
    """This machine or AWS could not provide what the job needs; another attempt may succeed."""

    exit_code = 125
    title = "Could not start the job"
    docs = "could-not-start"


class NoAnswer(CannotStart):
    """A remote service did not answer in time, which is neither a yes nor a no.

    What it answered before may still be used, where the operator allows that. A denial is an
    answer.
    """


class Stopped(CannotStart):
    """Airlock ended a running job to protect this host or its other jobs."""

    title = "Stopped the job"


class InternalError(AirlockError):
    """A bug in Airlock."""

    exit_code = 70
    title = "Airlock failed"
    docs = "internal-error"


class StatusUnknown(AirlockError):
    """The job has run, and neither the kernel nor Docker reports how it ended."""

    exit_code = 79
    title = "How the job ended is not known"
    docs = "status-not-known"
