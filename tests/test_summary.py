"""The table of attacks and faults that `make test` prints."""

from pathlib import Path

import pytest

from tests.summary import SUITES, lines

README = """
| 3 | nothing leads out | how | [a](tests/attacks/test_a.py), [b](tests/attacks/test_b.py) |
| 4 | nothing secret | how | [b](tests/attacks/test_b.py) |
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "README.md").write_text(README)
    for name in ("attacks/test_a.py", "attacks/test_b.py", "faults/test_c.py"):
        path = tmp_path / "tests" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'"""What {path.stem} tries.\n\nMore.\n"""\n')
    return tmp_path


def test_summary_has_files_promises_and_totals(root: Path) -> None:
    outcomes = [
        ("tests/attacks/test_a.py::test_one[x]", "passed"),
        ("tests/attacks/test_a.py::test_one[y]", "passed"),
        ("tests/attacks/test_b.py::test_two", "passed"),
        ("tests/attacks/test_b.py::test_two", "error"),
        ("tests/attacks/test_b.py::test_three", "failed"),
        ("tests/attacks/test_b.py::test_four", "skipped"),
        ("tests/faults/test_c.py::test_five", "passed"),
        ("tests/test_other.py::test_six", "passed"),
    ]
    attacks, faults = (list(lines(suite, outcomes, root)) for suite in SUITES)
    assert attacks[0].split() == ["a", "2", "passed"]
    assert attacks[1].strip() == "What test_a tries."
    assert attacks[2].split() == [
        "b",
        "1",
        "passed,",
        "1",
        "error,",
        "1",
        "failed,",
        "1",
        "skipped",
    ]
    assert attacks[4].endswith(": 3: 3, 4: 1")
    assert attacks[5].startswith("5 attack cases tried, 3 as promised: ")
    assert attacks[5].endswith("; 2 not, 1 skipped")
    assert faults[-1] == "1 faults injected, 1 survived; 0 not, 0 skipped"


def test_suite_that_did_not_run_prints_nothing(root: Path) -> None:
    assert list(lines(SUITES[1], [("tests/attacks/test_a.py::test_one", "passed")], root)) == []
