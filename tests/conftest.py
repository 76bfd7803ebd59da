"""Fixtures for tests that need the lab; those that do not never touch it."""

import ast
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.lab import lab as labs

# The time of an example depends on the machine's other work more than on the code.
settings.register_profile("airlock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("airlock")


@pytest.fixture(scope="session")
def lab() -> Iterator[labs.Lab]:
    if os.geteuid() != 0:
        pytest.skip("the lab needs root")
    with labs.lab() as made:
        yield made


@pytest.fixture
def fleet(lab: labs.Lab, tmp_path: Path) -> Iterator[labs.Fleet]:
    with labs.fleet(lab, tmp_path / "fleet") as made:
        yield made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the attacks that ran: each file's outcomes and the first line of its docstring."""
    counted: dict[str, Counter[str]] = {}
    for outcome in ("passed", "failed", "skipped", "error"):
        for report in terminalreporter.getreports(outcome):
            if report.nodeid.startswith("tests/attacks/"):
                counted.setdefault(report.nodeid.split("::")[0], Counter())[outcome] += 1
    if counted:
        terminalreporter.section("attacks")
    for file, outcomes in sorted(counted.items()):
        text = (terminalreporter.config.rootpath / file).read_text()
        summary = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
        how = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items())
        terminalreporter.line(f"{Path(file).stem.removeprefix('test_'):44} {how}")
        terminalreporter.line(f"    {summary}")
