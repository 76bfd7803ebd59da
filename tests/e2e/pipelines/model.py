"""A pipeline, its repository, and what has to become of its jobs, live and replayed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

GIT = "GIT_SERVER"  # in texts: the URL of the lab's git server
PIPELINE = ".buildkite/pipeline.yml"
Ending = tuple[str, str, str]  # exit status, signal, signal reason


class End(StrEnum):
    """How somebody outside ends a job."""

    CANCEL = "cancel"
    TIMEOUT = "timeout"
    BY_ITSELF = "by itself"  # nobody does, live; a replay is interrupted


@dataclass(frozen=True, kw_only=True, slots=True)
class Interrupted:
    """This happens to the first job of a step once `seen` is a line of its log."""

    key: str
    seen: str
    by: End


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotation:
    """One annotation: its body as the job wrote it, and the words that a reader sees."""

    body: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """One job. What it must do is what Buildkite's documentation says, not what Airlock did once.

    `env` are variables that only this one of the step's jobs has. `lines` are lines of the log in
    their order, `never` are lines that it must not have.
    `choice` are the options of `airlock replay` that name this job among those of its step.
    `replayed` is the exit status of a replay where no exit status reaches Buildkite.
    """

    key: str
    env: Mapping[str, str] = field(default_factory=dict)
    ending: Ending = ("0", "", "")
    lines: Sequence[str] = ()
    never: Sequence[str] = ()
    artifacts: Mapping[str, bytes] = field(default_factory=dict)
    annotations: Mapping[str, Annotation] = field(default_factory=dict)
    meta_data: Mapping[str, str] = field(default_factory=dict)
    uploads: Sequence[Sequence[Mapping[str, Any]]] = ()  # of each, what its steps have at least
    uploaded_by: str = ""  # the step that uploaded this one, if that is not the first
    choice: Sequence[str] = ()
    replayed: tuple[int, ...] = ()
    only_live: Sequence[str] = ()  # lines that a replay cannot have


@dataclass(frozen=True, kw_only=True, slots=True)
class Pipeline:
    """A repository with a pipeline, and all jobs of its steps in the order of the file.

    `files` are those beside the pipeline; `prepare` changes the published repository further, and
    returns the commit to build. `outcomes` are of steps whose outcome is not that of their jobs.
    """

    name: str
    text: str
    expected: Sequence[Expected]
    files: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[Path, str], str] | None = None
    commit: str = ""  # to ask for, in place of the repository's
    state: str = "passed"
    outcomes: Mapping[str, str] = field(default_factory=dict)
    interrupted: Interrupted | None = None
    without_jobs: Sequence[str] = ()  # steps that never run


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """What is known of a job that has ended, live or replayed."""

    log: str
    artifacts: Mapping[str, bytes]
    annotations: Mapping[str, str]  # bodies; of a replay, the words
    uploads: Sequence[Mapping[str, Any]]

    def verify(self, expected: Expected, *, replayed: bool) -> None:
        """Fail, with the log, unless the job did all that is expected."""
        shown = self.log[-6000:]
        lines = [line.strip("\r") for line in self.log.split("\n")]
        rest = iter(lines)
        live = () if replayed else expected.only_live
        for line in (*expected.lines, *live):
            assert line in rest, f"not in the log, or not there: {line!r}\n{shown}"
        for line in expected.never:
            assert line not in lines, f"in the log: {line!r}\n{shown}"
        assert dict(self.artifacts) == dict(expected.artifacts), shown
        annotations = {
            context: one.text if replayed else one.body
            for context, one in expected.annotations.items()
        }
        assert dict(self.annotations) == annotations
        assert len(self.uploads) == len(expected.uploads), shown
        for upload, steps in zip(self.uploads, expected.uploads, strict=True):
            for found, wanted in zip(upload["steps"], steps, strict=True):
                assert {name: found.get(name) for name in wanted} == wanted
