"""A build: the jobs of uploaded steps, started when Buildkite would start them.

Sources below https://buildkite.com/docs/pipelines/configure: step-types/wait-step, depends-on,
retry, soft-fail; and /docs/agent/cli/reference/pipeline, …/step, …/build.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tests.fakes.control_plane.job import Job, JobOrder
from tests.fakes.control_plane.plane import ControlPlane
from tests.fakes.control_plane.steps import EVERY, CommandStep, Wait, Work, steps_of

UPLOAD = "buildkite-agent pipeline upload"


class Outcome(StrEnum):
    """What `buildkite-agent step get outcome` says of a step."""

    NEUTRAL = "neutral"  # not yet known
    PASSED = "passed"
    SOFT_FAILED = "soft_failed"
    HARD_FAILED = "hard_failed"


_GOOD = {Outcome.PASSED, Outcome.SOFT_FAILED}


@dataclass(slots=True)
class _Placed:
    """A step in its build: the attempts of each of its jobs, the last of which counts."""

    step: CommandStep | Wait
    attempts: list[list[Job]] = field(default_factory=list)
    is_dropped: bool = False  # it will never run

    @property
    def is_started(self) -> bool:
        return bool(self.attempts)


class Build:
    """One build on a control plane, which begins with the step that uploads the pipeline.

    `env` is what all of its jobs have. Jobs are started while a method of this waits.
    """

    def __init__(
        self, control: ControlPlane, env: Mapping[str, str], *, command: str = UPLOAD
    ) -> None:
        self._control = control
        self._env = {"BUILDKITE_BUILD_ID": str(uuid.uuid4()), **env}
        self._uploads: dict[str, int] = {}  # how many of a job's are taken, by its id
        self._canceled_steps = 0
        (first,) = steps_of({"steps": [{"command": command, "key": "upload"}]})
        self._placed = [_Placed(first)]

    @property
    def id(self) -> str:
        return self._env["BUILDKITE_BUILD_ID"]

    @property
    def jobs(self) -> list[Job]:
        """All jobs so far, in the order of their steps."""
        return [job for one in self._placed for tries in one.attempts for job in tries]

    @property
    def is_canceled(self) -> bool:
        return self.id in self._control.canceled_builds

    @property
    def is_over(self) -> bool:
        """Whether nothing of it runs, and nothing will."""
        return all(_has_ended(one) for one in self._placed)

    @property
    def state(self) -> str:
        """How it has ended: passed, failed or canceled."""
        if self.is_canceled:
            return "canceled"
        steps = [one for one in self._placed if isinstance(one.step, CommandStep)]
        good = all(one.is_started and _outcome(one) in _GOOD for one in steps)
        return "passed" if good else "failed"

    def of(self, key: str) -> list[Job]:
        """Return the jobs of the step with this key, those that were retried before the others."""
        return [job for job in self.jobs if job.env["BUILDKITE_STEP_KEY"] == key]

    def outcome(self, key: str) -> Outcome:
        """Return the outcome of the step with this key."""
        return _outcome(self._named(key))

    def run(self, seconds: float = 120) -> None:
        """Wait until nothing of it runs and nothing will."""
        self.wait(lambda _: self.is_over, seconds)

    def wait(self, condition: Callable[["Build"], object], seconds: float = 120) -> None:
        """Wait until the condition holds. The logs so far are in the failure."""

        def holds() -> object:
            self._advance()
            return condition(self)

        with self._control.changed:
            met = self._control.changed.wait_for(holds, seconds)
        logs = "\n".join(job.log.decode(errors="replace")[-2000:] for job in self.jobs)
        assert met, f"not within {seconds} s; the logs of its jobs end:\n{logs}"

    # What Buildkite does whenever something has changed.

    def _advance(self) -> None:
        self._take_uploads()
        self._take_cancellations()
        for one in self._placed:
            for tries, work in zip(one.attempts, _works(one), strict=True):
                if self._is_retried(one, tries):
                    tries.append(self._start(work, retries=len(tries)))
        for index, one in enumerate(self._placed):
            if not one.is_started and not one.is_dropped and isinstance(one.step, CommandStep):
                self._start_or_drop(index, one, one.step)
        self._publish()

    def _take_uploads(self) -> None:
        for placed in list(self._placed):
            for job in [job for tries in placed.attempts for job in tries]:
                taken = self._uploads.get(job.id, 0)
                for upload in job.pipelines[taken:]:
                    self._insert(placed, upload)
                self._uploads[job.id] = len(job.pipelines)

    def _insert(self, uploader: _Placed, upload: Mapping[str, object]) -> None:
        where = self._placed.index(uploader) + 1
        if upload.get("replace"):
            self._placed[where:] = [one for one in self._placed[where:] if one.is_started]
        pipeline = upload["pipeline"]
        assert isinstance(pipeline, dict)
        self._placed[where:where] = [_Placed(step) for step in steps_of(pipeline)]

    def _take_cancellations(self) -> None:
        for build, step in self._control.canceled_steps[self._canceled_steps :]:
            if build == self.id:
                self._cancel([one for one in self._placed if step in _names(one)])
        self._canceled_steps = len(self._control.canceled_steps)
        if self.is_canceled:
            self._cancel(self._placed)

    def _cancel(self, steps: list[_Placed]) -> None:
        for one in steps:
            one.is_dropped = one.is_dropped or not one.is_started
            for tries in one.attempts:
                if tries[-1].finish is None and tries[-1].state not in {"canceling", "canceled"}:
                    self._control.cancel(tries[-1])

    def _is_retried(self, one: _Placed, tries: list[Job]) -> bool:
        assert isinstance(one.step, CommandStep)
        job = tries[-1]
        if job.finish is None or job.ended_as == "canceling" or self.is_canceled:
            return False
        status = job.result[0]
        return status != "0" and any(
            (EVERY in rule.statuses or status in rule.statuses) and len(tries) <= rule.limit
            for rule in one.step.retries
        )

    def _start_or_drop(self, index: int, one: _Placed, step: CommandStep) -> None:
        before = list(self._required(index, step))
        if any(not ended for ended, _ in before):
            return
        if all(good for _, good in before):
            one.attempts = [[self._start(work)] for work in step.work]
        else:
            one.is_dropped = True

    def _required(self, index: int, step: CommandStep) -> Iterator[tuple[bool, bool]]:
        """Yield for everything that it depends on whether that has ended, and whether well."""
        if step.depends_on is not None:
            for key in step.depends_on:
                other = self._named(key)
                yield _has_ended(other), _outcome(other) in _GOOD or step.allows_failure
            return
        waits = [n for n in range(index) if isinstance(self._placed[n].step, Wait)]
        for number, other in enumerate(self._placed[: waits[-1]] if waits else []):
            if isinstance(other.step, CommandStep):
                following = [n for n in waits if n > number]
                tolerated = all(_continues(self._placed[n]) for n in following)
                yield _has_ended(other), _outcome(other) in _GOOD or tolerated

    def _start(self, work: Work, *, retries: int = 0) -> Job:
        of_job = {
            "BUILDKITE_JOB_ID": str(uuid.uuid4()),
            "BUILDKITE_RETRY_COUNT": str(retries),
            "BUILDKITE_RETRY_TYPE": "automatic" if retries else "",
        }
        env = {**work.env, **self._env, **work.standard, **of_job}
        return self._control.enqueue(JobOrder(env=env))

    def _named(self, key: str) -> _Placed:
        for one in self._placed:
            if isinstance(one.step, CommandStep) and key in _names(one):
                return one
        raise LookupError(f"the build has no step {key!r}")

    def _publish(self) -> None:
        """Let jobs ask for the outcomes of steps."""
        for one in self._placed:
            for name in filter(None, _names(one)):
                attributes = self._control.steps.setdefault(f"{self.id} {name}", {})
                attributes["outcome"] = _outcome(one)


def _works(one: _Placed) -> tuple[Work, ...]:
    return one.step.work if isinstance(one.step, CommandStep) and one.is_started else ()


def _names(one: _Placed) -> set[str]:
    return {one.step.id, one.step.key} if isinstance(one.step, CommandStep) else set()


def _continues(one: _Placed) -> bool:
    return isinstance(one.step, Wait) and one.step.continues_on_failure


def _has_ended(one: _Placed) -> bool:
    if isinstance(one.step, Wait) or one.is_dropped:
        return True
    return one.is_started and all(_is_over(tries[-1]) for tries in one.attempts)


def _is_over(job: Job) -> bool:
    return job.finish is not None or job.state == "canceled"


def _outcome(one: _Placed) -> Outcome:
    """Return the worst of its jobs' outcomes: https://buildkite.com/docs/agent/cli/reference/step."""
    if one.is_dropped or not one.is_started or not _has_ended(one):
        return Outcome.NEUTRAL
    found = [
        _of_job(tries[-1], work) for tries, work in zip(one.attempts, _works(one), strict=True)
    ]
    return max(found, key=list(Outcome).index)


def _of_job(job: Job, work: Work) -> Outcome:
    if job.finish is None:
        return Outcome.HARD_FAILED  # canceled before it began
    status = job.result[0]
    if status == "0":
        return Outcome.PASSED
    soft = EVERY in work.soft or status in work.soft
    return Outcome.SOFT_FAILED if soft else Outcome.HARD_FAILED
