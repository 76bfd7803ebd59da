"""Fixtures of fault injection: an engine that may be killed, and a count of injected faults."""

from collections.abc import Iterator

import pytest

from tests.lab.engine import Engine
from tests.lab.lab import Lab


@pytest.fixture
def dockerd(lab: Lab) -> Iterator[Engine]:
    """The lab's own engine, running as before when the test ends."""
    assert lab.engine, "stop this machine's own Docker Engine: tests do not inject faults into it"
    yield lab.engine
    lab.engine.restored()
