"""What differs between a recorded run and a replay, and what only looks as if it did."""

from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap.replay.compare import Row, rows, table, without_ours
from bootstrap.replay.model import Kind, RecordedEnd, RecordedRun, ReplayInput
from bootstrap.replay.phases import digest_of
from bootstrap.replay.result import Ended, Result

IMAGE = "registry.example.com/ci@sha256:" + "a" * 64
OUTPUT = b"~~~ Preparing\nready\n"
FOUND = ReplayInput(
    kind=Kind.RECORD,
    source="job.json",
    env={"BUILDKITE_BRANCH": "main", "CI": "true"},
    unknown=("NPM_TOKEN",),
    image=IMAGE,
    ended=RecordedEnd(code=3, signal=None, whose="job", how="exited"),
    run=RecordedRun(
        schema=2, version="1", started="", image_id="sha256:1", decision={"rule": "deploy"},
        spec={"memory": 1024, "pids": 64}, versions={"agent": "3.138.1"},
        timings={"engine": 0.5, "lease": 0.1}, agent={}, events=(),
    ),
)  # fmt: skip
SAME = Result(
    ended=Ended(code=3, out_of_memory=False, cancelled=None, seconds=4.0),
    image=IMAGE,
    image_id="sha256:1",
    versions={"agent": "3.138.1"},
    spec={"memory": 1024, "pids": 64, "tmp": 5},
    env=("BUILDKITE_BRANCH", "CI", "NPM_TOKEN"),
    timings={"engine": 0.7},
    phases=(),
    digest=None,
    kept=None,
    results=Path("airlock-replay/job"),
)


def different(found: ReplayInput, result: Result) -> list[str]:
    return [row.name for row in rows(found, result) if row.differs]


def test_difference_of_one_mount_is_its_own() -> None:
    assert FOUND.run is not None
    mounts = {"/airlock": "ro", "/run/ssh": "rw"}
    then = replace(FOUND, run=replace(FOUND.run, spec={"mounts": mounts}))
    now = replace(SAME, spec={"mounts": {"/airlock": "rw", "/cache": "rw"}})
    found = [row for row in rows(then, now) if row.differs]
    assert [(row.name, row.recorded, row.replayed) for row in found] == [
        ("mounts /airlock", "ro", "rw"),
        ("mounts /cache", "-", "rw"),
        ("mounts /run/ssh", "rw", "-"),
    ]


@pytest.mark.parametrize("columns", [20, 40, 80, 120])
def test_table_fits_into_a_terminal(columns: int) -> None:
    lines = list(table(rows(FOUND, replace(SAME, image="x" * 90, image_id="sha256:2")), columns))
    assert any(line.startswith("≠ image") for line in lines)
    if columns >= 80:
        assert max(map(len, lines[:-1])) <= columns - 2  # "# " is before each line
    else:
        assert f"≠ image: {IMAGE} -> {'x' * 90}" in lines


def test_the_same_run_has_no_difference() -> None:
    assert different(FOUND, SAME) == []
    assert list(table(rows(FOUND, SAME)))[-1] == "different: nothing"


def test_each_difference_is_the_only_one() -> None:
    ended = replace(SAME.ended, code=0)
    assert different(FOUND, replace(SAME, ended=ended)) == ["exit status"]
    other = replace(SAME, image="registry.example.com/ci:2", image_id="sha256:2")
    assert different(FOUND, other) == ["image"]
    assert different(FOUND, replace(SAME, versions={"agent": "4.0.0"})) == ["version of agent"]
    assert different(FOUND, replace(SAME, spec={"memory": 2048})) == ["memory"]
    assert different(FOUND, replace(SAME, env=("CI",))) == ["variables of the job"]


def test_image_is_the_same_by_its_digest_or_by_its_id() -> None:
    rebuilt = replace(SAME, image_id="sha256:elsewhere")
    assert different(FOUND, rebuilt) == []
    assert different(FOUND, replace(SAME, image="ci:latest")) == []
    tagged = replace(FOUND, image="ci:latest")
    assert different(tagged, replace(rebuilt, image="ci:latest")) == ["image"]


def test_log_is_compared_without_what_airlock_printed(tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    log.write_bytes(b"~~~ :lock: Airlock\n\x1b[90m# rule\x1b[0m\n" + OUTPUT)
    found = replace(FOUND, log=log)
    assert different(found, replace(SAME, digest=digest_of(OUTPUT.split(b"\n")))) == []
    assert different(found, replace(SAME, digest="0" * 64)) == ["digest of the log"]
    assert list(without_ours([b"~~~ :lock: Airlock", b"x", b"--- job", b"y"])) == [b"--- job", b"y"]


def test_input_that_is_no_record_has_nothing_to_differ_from() -> None:
    found = ReplayInput(kind=Kind.ENV, source="env", env=FOUND.env)
    assert different(found, SAME) == []


def test_table_marks_what_differs_and_cuts_what_is_long() -> None:
    shown = list(
        table((
            Row(name="image", recorded="x" * 60, replayed="b", differs=True),
            Row(name="rule", recorded="deploy", replayed="-", differs=None),
        ))
    )  # fmt: skip
    assert shown[1].startswith(f"≠ image  {'x' * 47}…  b")
    assert shown[2].startswith("  rule   deploy")
    assert shown[3] == "different: image"
