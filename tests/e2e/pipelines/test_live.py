"""Every pipeline as a build of live jobs, whose agent API is the gateway."""

from collections.abc import Mapping

import pytest

from tests.e2e.pipelines.conftest import PIPELINES, Published, Site
from tests.e2e.pipelines.model import End, Interrupted, Pipeline, Ran
from tests.fakes.control_plane import Build, Job, Outcome

pytestmark = pytest.mark.lab
_OF_JOBS = (
    "BUILDKITE_JOB_ID", "BUILDKITE_STEP_KEY", "BUILDKITE_COMMAND", "BUILDKITE_TIMEOUT",
    "BUILDKITE_AGENT_NAME",
)  # fmt: skip


def begun(site: Site, published: Published) -> Build:
    env = site.fleet.env("", **published.env)
    return Build(site.fleet.control, {n: v for n, v in env.items() if n not in _OF_JOBS})


def interrupted(site: Site, build: Build, by: Interrupted) -> None:
    """Wait until the job has got that far, and end it."""
    line = f"\n{by.seen}\r".encode()
    build.wait(lambda b: b.is_over or [job for job in b.of(by.key) if line in job.log])
    job = found(build, by.key, 0)
    match by.by:
        case End.CANCEL:
            site.fleet.control.cancel(job)
        case End.TIMEOUT:
            site.fleet.control.time_out(job)


def found(build: Build, key: str, number: int, env: Mapping[str, str] | None = None) -> Job:
    jobs = [job for job in build.of(key) if (env or {}).items() <= job.env.items()]
    logs = "\n".join(job.log.decode()[-3000:] for job in build.jobs)
    assert len(jobs) > number, f"the step {key} has {len(jobs)} jobs\n{logs}"
    return jobs[number]


def ran(job: Job) -> Ran:
    result = job.completed()
    return Ran(
        log=result.log.decode(),
        artifacts={a.path: a.content for a in result.artifacts if a.state == "finished"},
        annotations={
            context: body
            for context, body in result.annotations.items()
            if context in {one["context"] for one in job.annotations}
        },
        uploads=[upload["pipeline"] for upload in result.pipelines],
    )


@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda one: one.name)
def test_pipeline(site: Site, pipeline: Pipeline) -> None:
    build = begun(site, site.published[pipeline.name])
    if pipeline.interrupted:
        interrupted(site, build, pipeline.interrupted)
    build.run()
    for number, expected in enumerate(pipeline.expected):
        key = "upload" if pipeline.commit else expected.key
        before = [
            one for one in pipeline.expected[:number]
            if (one.key, one.env) == (expected.key, expected.env)
        ]  # fmt: skip
        job = found(build, key, len(before), expected.env)
        assert job.result == expected.ending, job.log.decode()[-6000:]
        ran(job).verify(expected, replayed=False)
        assert expected.meta_data.items() <= job.meta_data.items()
    wanted = {"upload", *(one.key for one in pipeline.expected if not pipeline.commit)}
    assert {job.env["BUILDKITE_STEP_KEY"] for job in build.jobs} == wanted
    assert len(build.jobs) == 1 + len(pipeline.expected) * (not pipeline.commit)
    assert not [key for key in pipeline.without_jobs if build.of(key)]
    assert build.state == pipeline.state
    for key, outcome in pipeline.outcomes.items():
        assert build.outcome(key) is Outcome(outcome)
    through_the_gateway(site, build)


def through_the_gateway(site: Site, build: Build) -> None:
    """No call of its jobs has gone to Buildkite but by the gateway, which says what it sent."""
    for job in build.jobs:
        kinds = [event["event"] for event in site.fleet.events(job.id)]
        assert kinds.count("agent_api") == 1, kinds
