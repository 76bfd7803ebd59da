"""The results of several runs of pytest as those of one; nothing that goes wrong is lost."""

import os
from pathlib import Path

import pytest

from tests.side_by_side.report import report
from tests.side_by_side.results import (
    Outcome,
    Results,
    read,
    skips,
    tables,
    together,
    totals,
    write,
)
from tests.side_by_side.stage import Stage, begin

A = Results(
    outcomes=[
        Outcome(test="tests/attacks/test_promise_8_unchanged.py::test_a", outcome="passed"),
        Outcome(test="tests/e2e/test_v4.py::a", outcome="skipped", reason="tests/x.py:1: no agent"),
        Outcome(test="tests/e2e/test_v4.py::b", outcome="skipped", reason="tests/x.py:1: no agent"),
    ],
    seconds={"tests/e2e/test_v4.py": 1.5},
)
B = Results(
    outcomes=[
        Outcome(test="tests/attacks/test_promise_8_unchanged.py::test_b", outcome="failed"),
        Outcome(test="tests/test_cli.py::test_c", outcome="passed"),
    ],
    seconds={"tests/e2e/test_v4.py": 1.0},
)


def test_results_are_counted_and_printed_over_all_runs(tmp_path: Path) -> None:
    for name, part in (("a", A), ("b", B)):
        write(part, tmp_path / name)
    both = together([read(tmp_path / "a"), read(tmp_path / "b")])
    assert totals(both) == "1 failed, 2 passed, 2 skipped"
    assert list(skips(both)) == ["SKIPPED [2] tests/x.py:1: no agent"]
    ((title, (counts, promise, *_)),) = tables(both)
    assert title == "attacks"
    assert counts.split() == ["promise_8_unchanged", "1", "passed,", "1", "failed"]
    assert promise.strip().startswith("Promise 8")
    assert both.seconds["tests/e2e/test_v4.py"] == 2.5


def ran(tmp_path: Path, name: str, *selection: str, prefix: tuple[str, ...] = ()) -> Stage:
    """Return a stage that has ended."""
    with Path(os.devnull).open() as held:
        stage = begin(name, tmp_path, selection, prefix, held.fileno())
        stage.process.wait()
    return stage


QUICK = "tests/side_by_side/test_plan.py"


def test_good_stages_end_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage = ran(tmp_path, "good", QUICK)
    assert [line.split()[0] for line in stage.progress()] == [QUICK]
    assert report([stage], 1, tmp_path / "seconds") == 0
    assert " 0 failed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("selection", "prefix", "wrong"),
    [
        ((QUICK, "-m", "lab"), (), "no test passed"),
        ((QUICK,), ("false",), "it ended with 1 before it could write its results"),
        (("tests/no_such_file.py",), (), "no test passed"),
    ],
)
def test_one_bad_stage_is_named_and_fails_the_run(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    selection: tuple[str, ...],
    prefix: tuple[str, ...],
    wrong: str,
) -> None:
    stages = [ran(tmp_path, "good", QUICK), ran(tmp_path, "bad", *selection, prefix=prefix)]
    assert report(stages, 1, tmp_path / "seconds") == 1
    lines = capsys.readouterr().out.splitlines()
    assert f"bad: {wrong}" in lines
    assert "good: passed" in lines
