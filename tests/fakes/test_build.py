"""The control plane starts the jobs of a build when Buildkite's documentation says so."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.control_plane import Build, ControlPlane, Job, Outcome
from tests.fakes.control_plane.steps import CommandStep, steps_of


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    with ControlPlane() as plane:
        yield plane


def ended(job: Job, status: int = 0, state: str = "running") -> None:
    job.ended_as = state
    job.finish = {"exit_status": str(status)}


def built(plane: ControlPlane, *steps: Any, **pipeline: Any) -> Build:
    """Return a build whose first job has uploaded these steps and has passed."""
    build = Build(plane, {"BUILDKITE_BRANCH": "main"})
    build.wait(lambda b: b.jobs, 1)
    uploads(build, "upload", *steps, **pipeline)
    ended(build.of("upload")[0])
    running(build)
    return build


def uploads(build: Build, key: str, *steps: Any, replace: bool = False, **pipeline: Any) -> None:
    document = {"steps": list(steps), **pipeline}
    build.of(key)[-1].pipelines.append({"pipeline": document, "replace": replace})


def running(build: Build) -> list[str]:
    """Return the keys of the steps that have jobs which run."""
    build.wait(lambda _: True, 1)
    return [job.env["BUILDKITE_STEP_KEY"] for job in build.jobs if job.finish is None]


def step(key: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "command": f"run {key}", **more}


def env(job: Job, *names: str) -> tuple[str | None, ...]:
    return tuple(job.env.get(f"BUILDKITE_{name}") for name in names)


def test_a_wait_waits_for_all_before_it(plane: ControlPlane) -> None:
    build = built(plane, step("a"), step("b"), "wait", step("c"))
    assert running(build) == ["a", "b"]
    ended(build.of("a")[0])
    assert running(build) == ["b"]
    assert not build.is_over
    ended(build.of("b")[0])
    assert running(build) == ["c"]
    ended(build.of("c")[0])
    build.run(1)
    assert build.state == "passed"


def test_nothing_follows_a_failure_unless_the_wait_continues(plane: ControlPlane) -> None:
    steps = (
        step("a"), step("b"), {"wait": None, "continue_on_failure": True}, step("c"), "wait",
        step("d"),
    )  # fmt: skip
    build = built(plane, *steps)
    ended(build.of("a")[0], 1)
    ended(build.of("b")[0])
    assert running(build) == ["c"]
    ended(build.of("c")[0])
    build.run(1)
    assert build.of("d") == []
    assert build.state == "failed"


def test_a_dependency_does_not_wait_for_a_wait(plane: ControlPlane) -> None:
    build = built(
        plane, step("a"), step("b"), "wait",
        step("c", depends_on="a"), step("d", depends_on=["a", {"step": "b"}]),
        step("e", depends_on="b", allow_dependency_failure=True), step("f", depends_on=None),
    )  # fmt: skip
    assert running(build) == ["a", "b", "f"]
    ended(build.of("a")[0])
    assert running(build) == ["b", "c", "f"]
    ended(build.of("b")[0], 1)
    assert running(build) == ["c", "e", "f"]
    assert build.of("d") == []


def test_automatic_retries(plane: ControlPlane) -> None:
    rules = {"automatic": [{"exit_status": 3, "limit": 1}, {"exit_status": [4, 5]}]}
    build = built(plane, step("a", retry=rules), step("b", retry={"automatic": True}))
    for status in (4, 5, 4):
        ended(build.of("a")[-1], status)
        running(build)
    assert [env(job, "RETRY_COUNT", "RETRY_TYPE") for job in build.of("a")] == [
        ("0", ""), ("1", "automatic"), ("2", "automatic"),
    ]  # fmt: skip
    assert build.outcome("a") is Outcome.HARD_FAILED
    assert len({job.id for job in build.of("a")}) == 3
    assert len({job.env["BUILDKITE_STEP_ID"] for job in build.of("a")}) == 1
    ended(build.of("b")[0], 1)
    running(build)
    ended(build.of("b")[1])
    assert running(build) == []
    assert build.outcome("b") is Outcome.PASSED


def test_what_was_canceled_is_not_retried(plane: ControlPlane) -> None:
    build = built(plane, step("a", retry={"automatic": True}))
    ended(build.of("a")[0], -1, "canceling")
    build.run(1)
    assert len(build.of("a")) == 1
    assert build.state == "failed"


@pytest.mark.parametrize(
    ("soft", "outcome"),
    [
        (True, Outcome.SOFT_FAILED), ([{"exit_status": 4}], Outcome.SOFT_FAILED),
        ([{"exit_status": "*"}], Outcome.SOFT_FAILED), ([{"exit_status": 5}], Outcome.HARD_FAILED),
        (False, Outcome.HARD_FAILED), (None, Outcome.HARD_FAILED),
    ],
)  # fmt: skip
def test_soft_failures(plane: ControlPlane, soft: object, outcome: Outcome) -> None:
    build = built(plane, step("a", soft_fail=soft), "wait", step("b"))
    ended(build.of("a")[0], 4)
    assert running(build) == (["b"] if outcome is Outcome.SOFT_FAILED else [])
    assert build.outcome("a") is outcome
    assert plane.steps[f"{build.id} a"]["outcome"] == outcome


def test_uploaded_steps_come_after_their_uploader(plane: ControlPlane) -> None:
    build = built(plane, step("a"), "wait", step("b"))
    uploads(build, "a", step("c"), "wait", step("d"))
    assert running(build) == ["a", "c"]
    ended(build.of("a")[0])
    ended(build.of("c")[0])
    assert running(build) == ["d"]
    uploads(build, "d", step("e"), replace=True)
    ended(build.of("d")[0])
    assert running(build) == ["e"]
    ended(build.of("e")[0])
    build.run(1)
    assert build.of("b") == []
    assert build.state == "passed"


def test_a_build_and_a_step_are_canceled(plane: ControlPlane) -> None:
    build = built(plane, step("a"), step("b"), "wait", step("c"))
    plane.canceled_steps.append((build.id, "a"))
    running(build)
    assert [job.state for job in build.jobs] == ["scheduled", "canceled", "scheduled"]
    plane.canceled_builds.append(build.id)
    build.wait(lambda b: b.is_over, 1)
    assert build.state == "canceled"
    assert build.of("c") == []


def of_step(**more: Any) -> list[dict[str, str]]:
    (found,) = steps_of({"env": {"A": "1", "B": "2"}, "steps": [{"command": "x", **more}]})
    assert isinstance(found, CommandStep)
    return [{**work.env, **work.standard} for work in found.work]


def test_what_a_step_sends() -> None:
    (sent,) = of_step(
        label="L", env={"B": 3}, plugins=[{"p#v1": None}], artifact_paths=["a/*", "b"],
        timeout_in_minutes=7, secrets=[{"key": "K", "environment_variable": "V"}],
    )  # fmt: skip
    assert (sent["A"], sent["B"], sent["BUILDKITE_LABEL"]) == ("1", "3", "L")
    assert json.loads(sent["BUILDKITE_PLUGINS"]) == [{"p#v1": None}]
    assert (sent["BUILDKITE_ARTIFACT_PATHS"], sent["BUILDKITE_TIMEOUT"]) == ("a/*;b", "7")
    assert json.loads(sent["BUILDKITE_SECRETS_CONFIG"])[0]["key"] == "K"


def test_parallel_jobs() -> None:
    numbers = [
        (one["BUILDKITE_PARALLEL_JOB"], one["BUILDKITE_PARALLEL_JOB_COUNT"])
        for one in of_step(parallelism=2)
    ]
    assert numbers == [("0", "2"), ("1", "2")]


def test_a_matrix_with_adjustments() -> None:
    matrix = {
        "setup": {"os": ["a", "b"], "v": [1, 2]},
        "adjustments": [
            {"with": {"os": "b", "v": 2}, "skip": True}, {"with": {"os": "c", "v": 9}},
        ],
    }  # fmt: skip
    sent = of_step(matrix=matrix, label="{{matrix.os}}{{matrix.v}}", env={"OS": "{{matrix.os}}"})
    assert [one["BUILDKITE_LABEL"] for one in sent] == ["a1", "a2", "b1", "c9"]
    assert [one["OS"] for one in sent] == ["a", "a", "b", "c"]
    assert [one["A"] for one in of_step(matrix=["x", "y"], env={"A": "{{matrix}}"})] == ["x", "y"]


@pytest.mark.parametrize(
    "unknown", [{"block": "b"}, {"trigger": "t"}, {"command": "x", "concurrency": 1}, "block"]
)
def test_what_is_not_known_is_refused(unknown: Any) -> None:
    with pytest.raises(ValueError, match=r"known here|no command, wait or group"):
        steps_of({"steps": [unknown]})
