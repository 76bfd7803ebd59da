"""docs/doctor.md has exactly the checks that there are, in their words."""

import re
from pathlib import Path

from bootstrap.doctor.checks import CHECKS, NAMES, SUBJECTS
from bootstrap.doctor.checks.cves import table
from bootstrap.doctor.model import Check, Stage

PAGE = Path(__file__).parents[2] / "docs/doctor.md"
SINCE = {Stage.IMAGE: "image", Stage.START: "start", Stage.RUN: "run"}


def row(check: Check) -> str:
    repair = f" `--fix` {check.repair}." if check.repair else ""
    return f"| `{check.name}` | {SINCE[check.since]} | {check.what} | {check.why}{repair} |"


def rows() -> str:
    """Return the tables of the page, one for each subject."""
    head = "| check | from | what has to hold | otherwise |\n|---|---|---|---|\n"
    return "\n".join(
        f"### {title}\n\n{head}" + "".join(f"{row(check)}\n" for check in checks)
        for title, checks in SUBJECTS
    )


def test_page_has_a_line_for_each_check() -> None:
    text = PAGE.read_text()
    shown = text.partition("## Checks\n\n")[2].partition("\n## ")[0]
    assert shown == rows(), f"write this into docs/doctor.md:\n\n{rows()}"


def test_page_has_every_vulnerability() -> None:
    listed = re.findall(r"CVE-\d{4}-\d+", PAGE.read_text())
    assert {cve.id for cve in table().cves} <= set(listed)
    assert table().checked in PAGE.read_text()


def test_example_is_of_all_checks_and_in_their_words() -> None:
    text = PAGE.read_text()
    assert f"\n{len(NAMES)} checks: {len(NAMES) - 2} ok, 1 failure, 1 warning\n" in text
    whys = {f"why: {check.why}" for check in CHECKS}
    shown = re.findall(r"^ {9}(why: .*)$", text, re.MULTILINE)
    assert len(shown) == 2
    assert set(shown) <= whys
