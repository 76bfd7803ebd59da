"""The values of the control plane: a test's order, a job's state, and its result."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.control_plane.log import assemble, so_far, unstamped


@dataclass(frozen=True, kw_only=True, slots=True)
class JobOrder:
    """One job. Names and values of `env` reach the agent unchecked, as an attacker's would."""

    env: Mapping[str, str]
    id: str = ""  # else BUILDKITE_JOB_ID of `env`, else a new one
    agent: str = ""  # only for the agent of this name
    step: Mapping[str, Any] = field(default_factory=dict)  # added to the job's `step`
    claims: Mapping[str, Any] = field(default_factory=dict)  # of OIDC tokens, whatever `env` has
    chunk_bytes: int = 100_000  # 0 makes the agent drop the job between start and finish
    log_bytes: int = 1 << 30
    own_token: bool = True  # else the agent passes its own token to the job


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """One file that a job uploaded."""

    id: str
    path: str
    content: bytes
    state: str
    content_type: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Timings:
    """Moments of a job on this machine's monotonic clock; 0.0 for one that has not happened."""

    enqueued: float = 0.0
    offered: float = 0.0
    accepted: float = 0.0
    started: float = 0.0
    first_chunk: float = 0.0
    finished: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class JobResult:
    """What Buildkite knows of a finished job."""

    exit_status: str
    signal: str
    signal_reason: str
    log: bytes  # as `Job.log`
    chunks_failed: int
    meta_data: Mapping[str, str]  # of the job's build
    artifacts: tuple[Artifact, ...]
    annotations: Mapping[str, str]  # bodies by context, after every append and removal
    pipelines: tuple[Mapping[str, Any], ...]
    promised_failures: tuple[Mapping[str, Any], ...]
    timings: Timings

    @property
    def ending(self) -> tuple[str, str, str]:
        """Exit status, signal and signal reason."""
        return self.exit_status, self.signal, self.signal_reason


@dataclass(slots=True)
class Job:
    """One job as the control plane sees it."""

    id: str
    env: dict[str, str]
    token: str
    order: JobOrder
    meta_data: dict[str, str]  # of the build
    shown: dict[str, str]  # the build's annotations, by context
    state: str = "scheduled"
    ended_as: str = ""  # its state when the agent reported the end: running, canceling, timing_out
    agent_id: str = ""
    stamped: bool = False  # its agent inserts timestamps, whatever it is asked for
    chunks: dict[int, bytes] = field(default_factory=dict)
    finish: dict[str, Any] | None = None
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    artifacts: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    own_shown: dict[str, str] = field(default_factory=dict)  # those of `annotate --scope job`
    pipelines: list[dict[str, Any]] = field(default_factory=list)
    promised: list[dict[str, Any]] = field(default_factory=list)
    header_times: dict[str, str] = field(default_factory=dict)
    times: dict[str, float] = field(default_factory=dict)

    def note(self, moment: str) -> None:
        """Remember when this happened for the first time."""
        self.times.setdefault(moment, time.monotonic())

    @property
    def build(self) -> str:
        return self.env.get("BUILDKITE_BUILD_ID", self.id)

    @property
    def log(self) -> bytes:
        """The log so far, in order of its offsets: the job's bytes, without an agent's timestamps.

        An agent that can leave them out is asked to, so that nothing is taken out here.
        """
        return self._unstamped(so_far(self.chunks))

    def _unstamped(self, log: bytes) -> bytes:
        return unstamped(log) if self.stamped else log

    @property
    def uploads(self) -> dict[str, bytes]:
        """The contents that reached the artifact store, by artifact id."""
        return {name: so_far(parts) for name, parts in self.parts.items()}

    @property
    def result(self) -> tuple[str, str, str]:
        """Exit status, signal and signal reason, as Buildkite would show them."""
        assert self.finish is not None, "the job has not finished"
        reason = self.finish.get("signal_reason", "")
        return self.finish["exit_status"], self.finish.get("signal", ""), reason

    def completed(self) -> JobResult:
        """Return everything about the finished job. Fails if a part of its log is missing."""
        status, signal, reason = self.result
        return JobResult(
            exit_status=status,
            signal=signal,
            signal_reason=reason,
            log=self._unstamped(assemble(self.chunks)),
            chunks_failed=(self.finish or {}).get("chunks_failed_count", 0),
            meta_data=dict(self.meta_data),
            artifacts=tuple(self._artifact(known) for known in self.artifacts),
            annotations=dict(self.shown),
            pipelines=tuple(self.pipelines),
            promised_failures=tuple(self.promised),
            timings=Timings(**self.times),
        )

    def _artifact(self, known: Mapping[str, Any]) -> Artifact:
        return Artifact(
            id=known["id"],
            path=known["path"],
            content=so_far(self.parts.get(known["id"], {})),
            state=known["state"],
            content_type=known.get("content_type", ""),
        )
