"""docs/doctor.md has exactly the checks that there are, in their words."""

import re
from pathlib import Path

from bootstrap.doctor.checks import SUBJECTS
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
