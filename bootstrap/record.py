"""The audit trail: one JSON line per decision, session and end; at the end one record per job.

It cannot be switched off. A job whose record cannot be written does not start.
"""

import errno
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, cast

from bootstrap import __version__
from bootstrap.aws.model import SessionRequest
from bootstrap.buildkite.redaction import without_secrets
from bootstrap.errors import AirlockError, CannotStart
from bootstrap.job.model import Job
from bootstrap.policy.model import Admitted, Decision, Denied
from bootstrap.sandbox.exitstatus import ExitStatus
from bootstrap.sandbox.model import Ended
from bootstrap.text import without_credentials


class Record:
    """Appends events to the host's record file and keeps what the job's own record will say."""

    def __init__(self, path: Path, started: str) -> None:
        self._last = time.monotonic()
        self.timings: dict[str, float] = {}
        self._logger = _logger(path)
        self._said: dict[str, Any] = {"version": __version__, "started": started}

    def timed(self, step: str) -> None:
        """Note the seconds since the last lap as what `step` took."""
        now = time.monotonic()
        self.timings[step] = round(now - self._last, 4)
        self._last = now

    def job(self, job: Job) -> None:
        """Begin: every later event carries who this is."""
        who = {"organization": job.organization, "pipeline": job.pipeline, "job": job.id}
        self._logger = self._logger.bind(**who, build=job.build_number, agent=job.agent_name)
        self._said |= {**who, "build": job.build_number, "agent": job.agent_name}
        self._said["env"] = _masked(without_secrets(job.env, job.agent))

    def decided(self, decision: Decision, *, enforced: bool = True) -> None:
        """The policy's verdict with every reason, for yes and for no, and whether it counted."""
        reasons = [asdict(reason) for reason in decision.reasons]
        match decision:
            case Admitted(rule=rule):
                self._event("admitted", rule=rule, policy=_policy(decision), reasons=reasons)
            case Denied(problem=problem, nearest=nearest):
                policy = _policy(decision)
                facts = {"problem": problem, "nearest": nearest, "policy": policy}
                self._event("denied", **facts, reasons=reasons, enforced=enforced)

    def session(self, request: SessionRequest, *, assumed: str, expires: str) -> None:
        """A session was issued: what was asked of STS, and what CloudTrail will show."""
        self._event(
            "session",
            role=request.role,
            session_name=request.session_name,
            source_identity=request.source_identity,
            via=request.via.role if request.via else None,
            subject=request.subject,
            tags=dict(request.tags),
            assumed_role=assumed,
            expires=expires,
        )

    def secrets(self, named: Sequence[Mapping[str, str]]) -> None:
        """Secrets were fetched: the kind, name and reference of each, never their values."""
        self._event("secrets", secrets=list(named))

    def ssh_agent(self, usage: Mapping[str, object]) -> None:
        """What the job asked of its ssh agent, by message, and how much of it was refused."""
        self._event("ssh_agent", **usage)

    def sandbox(self, **facts: Any) -> None:  # noqa: ANN401 - goes into JSON as it is
        """The room stands: image id, address, proof, timings."""
        self._event("room", timings=self.timings, **facts)

    def ended(self, *, status: ExitStatus, ended: Ended) -> None:
        """How it ended, what the agent sees, and whose status that is."""
        how = {"kind": type(ended).__name__.lower(), **asdict(ended)}
        self._event("end", status={"kind": type(status).__name__, **asdict(status)}, ended=how)

    def cancelled(self, by: str) -> None:
        """The agent cancelled the job before anything of it ran."""
        self._event("cancelled", by=by)

    def failed(self, error: AirlockError) -> None:
        """It did not get as far as running."""
        self._event("failed", exit_code=error.exit_code, title=error.title, problem=error.problem)

    def keep(self, directory: Path) -> None:
        """Write the job's own record, readable by root alone, whole or not at all."""
        if "job" not in self._said:
            return  # no job was read: the events above are all there is
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = directory / f"{self._said['job']}.json"
        fresh = path.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(self._said, indent=2, ensure_ascii=False) + "\n")
        fresh.replace(path)

    def _event(self, name: str, **facts: Any) -> None:  # noqa: ANN401
        kept = _masked(facts)
        self._said[name] = kept
        try:
            self._logger.info(name, **kept)
        except OSError as full:
            raise _unwritable(full) from full


def _masked(value: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Return `value` without credentials in any URL of it, however deep."""
    match value:
        case str():
            return without_credentials(value)
        case Mapping():
            return {_masked(name): _masked(member) for name, member in value.items()}
        case list() | tuple():
            return [_masked(member) for member in value]
        case _:
            return value


def _policy(decision: Decision) -> dict[str, str | None]:
    return {"origin": decision.policy_origin, "sha256": decision.policy_digest}


def _logger(path: Path) -> Any:  # noqa: ANN401 - structlog's loggers have no common type
    import structlog  # noqa: PLC0415

    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as unwritable:
        raise _unwritable(unwritable) from unwritable
    return structlog.wrap_logger(
        structlog.BytesLogger(cast("BinaryIO", _Appending(descriptor))),
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=_line),
        ],
        wrapper_class=structlog.BoundLogger,
    )


class _Appending:
    """A file to which each line is appended in one write, so that lines of two jobs never mix."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, line: bytes) -> None:
        if os.write(self._descriptor, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def flush(self) -> None:
        """There is no buffer."""


def _line(event: Mapping[str, Any], **_: object) -> bytes:
    return json.dumps(event).encode()


def _unwritable(problem: OSError) -> CannotStart:
    return CannotStart(
        f"the audit record cannot be written: {problem.filename or ''} {problem.strerror}",
        hint="Airlock starts no job that it cannot record: see paths.records in airlock.toml, "
        "and whether the disk is full.",
    )
