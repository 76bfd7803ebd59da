"""Fixtures for tests that need the lab; those that do not never touch it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.lab import lab as labs

# How long an example takes says more about the machine's other work than about the code.
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
