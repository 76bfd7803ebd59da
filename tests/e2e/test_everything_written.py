"""Every file that jobs leave on a host is in the documents' table, and the table has no other."""

import fnmatch
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.lab import AIRLOCK, Fleet, Lab, fleet

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]
RUNTIME = Path("/run/airlock")
# More than one of each kind, so that what grows with jobs is seen to grow.
RULES = """  - {name: verified, when: {commit-on-branch: verified, branch: main}, allow: {}}
  - {name: fresh, when: {branch: fresh}, allow: {workspace: fresh}}
  - {name: others, when: {branch: "*"}, allow: {}}
"""


def table() -> dict[str, str]:
    """Return the bound of each path pattern of the table."""
    text = (ROOT / "docs/limits.md").read_text().partition("## What Airlock writes")[2]
    rows = re.findall(r"^\| `([^`]+)` \|[^|]+\|([^|]+)\|", text.partition("\n## ")[0], re.MULTILINE)
    return {pattern: bound.strip() for pattern, bound in rows}


@pytest.fixture
def worked(lab: Lab, tmp_path: Path) -> Iterator[Fleet]:
    with fleet(lab, tmp_path / "fleet") as made, made.agent():
        (made.base / "log").mkdir()
        text = made.config.read_text()
        made.config.write_text(text.replace("/records.jsonl", "/log/records.jsonl"))
        made.policy(RULES)
        for branch in ("main", "fresh", "other"):
            job = made.control.enqueue(made.env("echo done", BUILDKITE_BRANCH=branch))
            assert made.control.finished(job)[0] == "0", job.log.decode()
        yield made


def written(made: Fleet) -> set[str]:
    """Return the paths on this host as the table writes them, down to what one row stands for."""
    roots = {"state": made.base / "state", "runtime": RUNTIME, "log": made.base / "log"}
    found = set()
    for name, root in roots.items():
        for path in root.iterdir():
            below = sorted(path.iterdir()) if path.is_dir() else [path]
            found |= {f"{name}/{each.relative_to(root)}" for each in below}
    return found


def test_what_jobs_leave_is_in_the_table(worked: Fleet) -> None:
    patterns = table()
    assert len(patterns) > 15
    paths = written(worked)
    unknown = {p for p in paths if not any(fnmatch.fnmatch(p, pattern) for pattern in patterns)}
    assert unknown == set()
    kinds = ("state/workspaces/*", "state/ancestry/*", "state/records/*", "runtime/slots/*")
    for kind in kinds:
        assert fnmatch.filter(paths, kind) != [], kind


def test_many_jobs_leave_no_more_than_the_bounds(worked: Fleet) -> None:
    """Each with an agent of another name, which is a workspace of its own, and a branch."""
    text = worked.config.read_text()
    worked.config.write_text(f"{text}workspaces = 3\nrecords = 4\nhistories = 1\n")
    for number in range(6):
        env = worked.env("true", BUILDKITE_BRANCH="other", BUILDKITE_AGENT_NAME=f"agent-{number}")
        job = worked.control.enqueue(env)
        assert worked.control.finished(job)[0] == "0", job.log.decode()
    gc = [*AIRLOCK, "gc", "--config", str(worked.config)]
    subprocess.run(gc, check=True, capture_output=True)
    paths = written(worked)
    bounds = {
        "state/workspaces/*": 3,
        "state/records/*": 4,
        "state/ancestry/*": 1,
        "state/fresh/*": 0,
        "state/trash/*": 0,
        "runtime/jobs/*": 0,
        "runtime/slots/*": 64,
        "runtime/ruleset-*": 1,
        "runtime/*.lock": 8,
    }
    counted = {pattern: len(fnmatch.filter(paths, pattern)) for pattern in bounds}
    assert all(counted[pattern] <= bound for pattern, bound in bounds.items()), counted
