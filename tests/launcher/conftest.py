"""Fixtures of the launcher's tests."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.sandbox.supervision.signals import CANCEL
from tests.launcher.peer import Peer, listening


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    with listening(tmp_path / "s") as made:
        yield made


@pytest.fixture(autouse=True)
def signals_by_default() -> Iterator[None]:
    """Start launchers as an agent does: other tests leave the signals of this process ignored.

    An ignored signal is lost if it comes before the launcher's first system call.
    """
    before = {number: signal.signal(number, signal.SIG_DFL) for number in CANCEL}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
