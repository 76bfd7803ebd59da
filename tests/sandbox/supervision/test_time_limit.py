"""A job that is cancelled for its limit of time has a line that says so, and no other one has."""

from collections.abc import Iterator
from pathlib import Path
from signal import Signals

import pytest

from bootstrap.log import JobLog
from bootstrap.sandbox.model import Cancelled
from bootstrap.sandbox.supervision import fullness
from tests.lab.engine import eventually
from tests.sandbox.supervision.test_supervise import Case, Disk, Process, full


class Marked(Process):
    """A process that ends in time, and whose container gets to know that its time is over."""

    def __init__(self, ready: Path) -> None:
        super().__init__(f"trap 'exit 3' TERM; touch {ready}; while :; do sleep 0.05; done")
        self.marked = False
        self._ready = ready

    def mark_timed_out(self) -> None:
        self.marked = True

    def signal(self, number: Signals) -> None:
        eventually(self._ready.exists, "it handles the signal")
        super().signal(number)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Marked]:
    made = Marked(tmp_path / "ready")
    yield made
    made.close()


@pytest.mark.parametrize("late", [True, False])
def test_the_limit_of_time_is_one_sentence(tmp_path: Path, process: Marked, *, late: bool) -> None:
    marker, added = tmp_path / "job-timeout", list[str]()
    if late:
        marker.touch()
    disk = Disk(full)
    disk.fullness.add = added.append
    ended = Case(tmp_path, marker=marker).run(process, disk, by=Signals.SIGTERM)
    assert isinstance(ended, Cancelled)
    assert (process.marked, len(added)) == (late, int(late))
    lines: list[bytes] = []
    fullness.explain(ended, added, JobLog(lines.append))
    assert (b"The job reached its limit of time" in b"".join(lines)) is late
