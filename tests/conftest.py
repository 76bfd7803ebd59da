"""Fixtures for tests that need the lab; those that do not never touch it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.lab import lab as labs
from tests.side_by_side import results

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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--results", type=Path, help="write the results there; print no tables")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the tables of what ran, unless tests/side_by_side prints those of all stages."""
    found = results.results_of(terminalreporter)
    if target := terminalreporter.config.getoption("--results"):
        results.write(found, target)
        return
    for title, lines in results.tables(found):
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.line(line)
