"""The audit trail: one JSON line per event, and at a job's end one document with all its events.

It cannot be switched off. A job whose record cannot be written does not start. Events and fields:
docs/audit.md#events
"""

import json
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from bootstrap import __version__
from bootstrap.appended import AppendedFile
from bootstrap.errors import AirlockError, CannotStart
from bootstrap.files import write
from bootstrap.metrics import catalogue, events, report
from bootstrap.text import without_credentials

SCHEMA = 3  # of events and job records (docs/audit.md#versions-of-the-schema)

Fields = Mapping[str, Any]
Alert = Callable[[str], object]
Mask = Callable[[str], str]
_Event = MutableMapping[str, Any]  # as structlog's processors pass it on


class Record:
    """Appends events to the host's record file and collects them for the job's own record.

    An event that cannot be written raises CannotStart, until the job has begun. From then on it
    waits for the next event that can be written, and nothing is raised.
    """

    def __init__(self, path: Path, started: str) -> None:
        self._path = path
        try:
            self._file = AppendedFile(path)
        except OSError as unwritable:
            raise not_writable(unwritable, path) from unwritable
        self._alert: Alert | None = None
        self._late = False  # whether events wait
        self._opened_at = self._last = time.monotonic()
        self.timings: dict[str, float] = {}
        self._job: dict[str, Any] = {"schema": SCHEMA, "version": __version__, "started": started}
        self._events: list[Fields] = []
        self._identity: dict[str, str] = {}
        self._mask: Mask = without_credentials
        self._logger = self._opened()

    @property
    def events(self) -> tuple[Fields, ...]:
        """What was recorded so far, for the job's own record."""
        return tuple(self._events)

    def timed(self, step: str) -> None:
        """Record the seconds since the last step as the duration of `step`."""
        now = time.monotonic()
        self.timings[step] = round(now - self._last, 4)
        self._last = now

    def job(
        self,
        *,
        organization: str,
        pipeline: str,
        job: str,
        build: str,
        agent: str,
        env: Mapping[str, str | None],
        agent_env: Mapping[str, str | None] | None = None,
        masked: Sequence[str] = (),
        mask: Mask = without_credentials,
    ) -> None:
        """Set the job that every later event is about.

        `env` is the job's environment and `agent_env` the agent's part, both with None for secrets.
        `masked` are the variables of which a part is masked; `mask` masks the same in events.
        """
        self._mask = mask
        self._identity = {"organization": organization, "pipeline": pipeline, "job": job,
                          "build": build, "agent": agent}  # fmt: skip
        self._logger = self._logger.bind(**self._identity)
        self._job |= {
            **self._identity,
            "env": _masked(env, without_credentials),
            "agent_env": _masked(agent_env or {}, without_credentials),
            "masked": list(masked),
        }

    def began(self, alert: Alert) -> None:
        """The job begins: from now on an unwritable record is a line in its log, by `alert`."""
        self._alert = alert

    def printed(self) -> None:
        """The job's first output is here. It is no event: how long that took is a metric."""
        seconds = time.monotonic() - self._opened_at
        report.report(catalogue.FIRST_BYTE_SECONDS, seconds)

    def admitted(
        self,
        *,
        rule: str,
        policy: Fields,
        reasons: Sequence[Fields],
        grant: Fields | None = None,
        claims: str = "",
    ) -> None:
        """The policy admits the job, by this rule. `claims` is the digest of its claims."""
        self._event("admitted", rule=rule, policy=policy, grant=grant or {}, reasons=reasons,
                    claims=claims)  # fmt: skip

    def denied(
        self,
        *,
        problem: str,
        nearest: str | None,
        policy: Fields,
        reasons: Sequence[Fields],
        enforced: bool,
        claims: str = "",
    ) -> None:
        """The policy does not admit the job; not `enforced` where it is only observed."""
        self._event("denied", problem=problem, nearest=nearest, policy=policy, reasons=reasons,
                    enforced=enforced, claims=claims)  # fmt: skip

    def verdict(
        self, *, claims: str, used: bool, why: str, age: float, before: Sequence[Fields]
    ) -> None:
        """There is a decision of the hook, `age` seconds old, and it counts or does not.

        `before` are the hook's events of this job, for the job's own record.
        """
        self._events[:0] = before
        self._event("verdict", claims=claims, used=used, why=why, age=round(age, 3))

    def session(
        self,
        *,
        role: str,
        session_name: str,
        source_identity: str | None,
        via: str | None,
        subject: str | None,
        tags: Mapping[str, str],
        assumed_role: str,
        expires: str,
    ) -> None:
        """A session was issued: what was requested of STS, and what CloudTrail will show."""
        self._event("session", role=role, session_name=session_name, via=via, subject=subject,
                    source_identity=source_identity, tags=tags, assumed_role=assumed_role,
                    expires=expires)  # fmt: skip

    def secrets(self, named: Sequence[Mapping[str, str]], *, purpose: str = "job") -> None:
        """Secrets were fetched: the kind, name and reference of each, never their values."""
        self._event("secrets", secrets=list(named), purpose=purpose)

    def ssh_agent(self, usage: Fields) -> None:
        """The job's requests to its ssh agent, by message, and how many were refused."""
        self._event("ssh_agent", **usage)

    def agent_api(self, use: Fields) -> None:
        """What the job's gateway sent to Buildkite, and which calls it refused."""
        self._event("agent_api", **use)

    def egress(self, use: Fields) -> None:
        """What the job looked up and was refused, where its rule has a list of what it reaches."""
        self._event("egress", **use)

    def connections(self, refusals: Mapping[str, int]) -> None:
        """How many of the job's packets the host's ruleset refused while it ran, and by what."""
        self._event("connections", **refusals)

    def sandbox(self, **facts: Any) -> None:  # noqa: ANN401 - goes into JSON as it is
        """The sandbox is proven: image id, address, proof, timings."""
        self._event("sandbox", timings=self.timings, **facts)

    def services(self, started: Fields) -> None:
        """The service containers are ready: image and limits of each, and its seconds."""
        self._event("services", services=started)

    def services_ended(self, ended: Fields) -> None:
        """The service containers are gone: how each ended, and what it had used up."""
        self._event("services_ended", services=ended)

    def builder_ended(self, ended: Fields) -> None:
        """The job is over, and so is its BuildKit: whether it ended before, and what it used up."""
        self._event("builder_ended", **ended)

    def routing(self, problem: str) -> None:
        """The second protection of the metadata address was removed while the job ran."""
        self._event("routing", problem=problem)

    def ended(self, *, status: Fields, ended: Fields, used_up: Sequence[str] = ()) -> None:
        """How the job ended, its status for the agent, whether that is Airlock's; limits it hit."""
        self._event("ended", status=status, ended=ended, used_up=list(used_up))

    def cancelled(self, by: str) -> None:
        """The agent cancelled the job before any of it ran."""
        self._event("cancelled", by=by)

    def failed(self, error: AirlockError, traceback: Sequence[str] = ()) -> None:
        """The job did not get as far as running. `traceback` is that of a bug."""
        self._event("failed", exit_code=error.exit_code, title=error.title, problem=error.problem,
                    traceback=list(traceback))  # fmt: skip

    def internal_error(self, problem: str, traceback: Sequence[str]) -> None:
        """A bug of Airlock that did not change the job's result."""
        self._event("internal_error", problem=problem, traceback=list(traceback))

    def unwritten(self) -> int:
        """Try the events that wait once more; return how many are not in the record file."""
        with suppress(OSError):
            self._file.catch_up()
        return self._file.waiting + self._file.lost

    def save(self, directory: Path, uid: int) -> None:
        """Write the job's own record, readable by root alone, whole or not at all.

        `uid` is the agent's user, which chooses the job's id: it is a part of the name, so that no
        other one replaces the record.
        """
        if not self._identity:
            return  # no job was read: its events are in the audit trail only
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = directory / f"{self._identity['job']}.{uid}.json"
        text = json.dumps({**self._job, "events": self._events}, indent=2, ensure_ascii=False)
        # A value that is not UTF-8 has surrogates, and their backslashed form is JSON's own.
        write(path, f"{text}\n".encode("utf-8", "backslashreplace"))

    def _event(self, name: str, **fields: Any) -> None:  # noqa: ANN401
        report.report_all(events.samples(name, fields, self._events))
        try:
            self._logger.info(name, **fields)
        except OSError as full:
            if self._alert is None:
                self._file.withdraw()
                raise not_writable(full, self._path) from full
            if not self._late:
                problem = not_writable(full, self._path).problem
                self._alert(f"{problem}. Airlock tries again with each event")
            self._late = True
        else:
            self._late = False

    def _opened(self) -> Any:  # noqa: ANN401 - structlog's loggers have no common type
        import structlog  # noqa: PLC0415

        return structlog.wrap_logger(
            structlog.BytesLogger(cast("BinaryIO", self._file)),
            processors=[
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                _with_schema,
                self._without_secrets,
                self._collected,
                structlog.processors.JSONRenderer(serializer=lambda e, **_: json.dumps(e).encode()),
            ],
            wrapper_class=structlog.BoundLogger,
        )

    def _without_secrets(self, _: object, __: str, event: _Event) -> Fields:
        return {
            name: value if name in self._identity else _masked(value, self._mask)
            for name, value in event.items()
        }

    def _collected(self, _: object, __: str, event: _Event) -> Fields:
        """Collect the event for the job's own record, which identifies the job once."""
        once = {"schema", *self._identity}
        self._events.append({name: event[name] for name in event if name not in once})
        return event


def _with_schema(_: object, __: str, event: _Event) -> Fields:
    return {"schema": SCHEMA, **event}


def _masked(value: Any, mask: Mask) -> Any:  # noqa: ANN401 - any value of JSON
    """Return `value` with every text of it masked, however deep."""
    match value:
        case str():
            return mask(value)
        case Mapping():
            return {_masked(name, mask): _masked(member, mask) for name, member in value.items()}
        case list() | tuple():
            return [_masked(member, mask) for member in value]
        case _:
            return value


def not_writable(problem: OSError, path: Path) -> CannotStart:
    """Return the error for an audit trail that cannot be written."""
    return CannotStart(
        f"the audit record cannot be written: {problem.strerror} ({problem.filename or path})",
        hint="Airlock starts no job that it cannot record: see paths.records in airlock.toml, "
        "and whether the disk is full (`df -h`, `df -i`).",
    )
