"""One job to replay, as values, wherever it was read from (docs/replay.md#inputs)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

API_URL = "https://api.buildkite.com"  # Buildkite's REST API


class Kind(StrEnum):
    """What an input is. The values are those of the option --kind."""

    RECORD = "record"  # of this job, as a host writes it or `airlock record export`
    ENV = "env"  # a copy of BUILDKITE_ENV_FILE or BUILDKITE_ENV_JSON_FILE
    URL = "url"  # of a job on Buildkite
    STEP = "step"  # of a pipeline.yml


@dataclass(frozen=True, kw_only=True, slots=True)
class MissingPiece:
    """A value that the job needs and the input does not have.

    `name` is a variable, or what another option than --env takes; `example` is that option with a
    value, as it would be written in a shell.
    """

    name: str
    why: str
    example: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedEnd:
    """How a recorded job ended: `code` and `signal` are what the agent received.

    One of the two is None, or both: then the job is not known to have ended. `whose` is `job` or
    `airlock`. `how` is the kind of the container's end (docs/audit.md#events), None if the job did
    not run; `problem` is why Airlock refused or failed it, or "".
    """

    code: int | None
    signal: str | None
    whose: str | None
    how: str | None
    problem: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedRun:
    """What a record has about the run, to compare another one with. None, "" or {} if it has not.

    `timings` are seconds by step. `spec` and `versions` are those of the events `sandbox`
    (docs/audit.md#events). `decision` is the last event `admitted` or `denied`. `agent` are the
    agent's own values, without secrets. `events` are all of them, in order and by the names of the
    newest schema.
    """

    schema: int
    version: str
    started: str
    image_id: str | None
    decision: Mapping[str, object]
    spec: Mapping[str, object]
    versions: Mapping[str, object]
    timings: Mapping[str, float]
    agent: Mapping[str, str]
    events: tuple[Mapping[str, object], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayInput:
    """One job. `source` says where it is from, fit to print: without credentials in URLs.

    `env` is the job's environment as Buildkite's backend sends it, with what --env gave. It may
    have secrets, where the input has; none of them is in a file of Airlock's.
    `missing` is empty if the job can be replayed. `unknown` are the variables that had a value
    which the input does not have, or not whole, because it was secret. `assumed` are the variables
    of `env` that are neither in the input nor given, but needed and without effect on the job.
    `image` is a reference to what the job ran in, by its digest if that is known.
    `ended` and `run` are None unless the input says how the job ended, and is a record.
    `log` is the recorded job's log, for --compare, if there is one beside the record.
    """

    kind: Kind
    source: str
    env: Mapping[str, str] = field(repr=False)
    missing: tuple[MissingPiece, ...] = ()
    unknown: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    image: str | None = None
    ended: RecordedEnd | None = None
    run: RecordedRun | None = None
    log: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class InputOptions:
    """What the command line says about an input. None and empty: nothing.

    `given` are variables, by --env. `matrix` are values of a step's matrix, by dimension, which is
    "" for a matrix without names. A pipeline that does not `interpolate` has its `$` as they are.
    `log` is the job's log; without it, that beside a record is used. `fallback` are variables for
    an input that lacks them.
    """

    kind: Kind | None = None
    given: Mapping[str, str] = field(default_factory=dict, repr=False)
    step: str | None = None
    matrix: Mapping[str, str] = field(default_factory=dict)
    interpolate: bool = True
    api_url: str = API_URL
    log: Path | None = None
    fallback: Mapping[str, str] = field(default_factory=dict)
