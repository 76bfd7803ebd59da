"""Fixtures of the launcher's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launcher.peer import Peer, listening


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    with listening(tmp_path / "s") as made:
        yield made
