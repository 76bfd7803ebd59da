"""Fixtures for tests that need the lab; those that do not never touch it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import summary
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
    """Print the attacks and the faults that ran: tests.summary."""
    outcomes = [
        (report.nodeid, outcome)
        for outcome in ("passed", "failed", "skipped", "error")
        for report in terminalreporter.getreports(outcome)
    ]
    for suite in summary.SUITES:
        lines = list(summary.lines(suite, outcomes, terminalreporter.config.rootpath))
        if lines:
            terminalreporter.section(suite.title)
        for line in lines:
            terminalreporter.line(line)
