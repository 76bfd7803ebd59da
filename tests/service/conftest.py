"""A service without an engine, for tests of everything before a job's container."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.service import Serving, running
from tests.test_cli import configured


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Serving]:
    """A running service of root's agents, which may have four jobs at once."""
    if os.geteuid() != 0:
        pytest.skip("the service runs as root")
    path, socket = configured(tmp_path), tmp_path / "airlock.sock"
    with path.open("a") as file:
        file.write(
            f'[service]\nsocket = "{socket}"\nagents = ["root"]\njobs-per-agent = 4\n'
            'pre-pull = false\ngc-interval = "0s"\n'
        )
    with running(path, socket, tmp_path / "service.log") as made:
        yield made
