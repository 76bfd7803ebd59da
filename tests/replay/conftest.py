"""A developer, a fleet whose jobs they replay, and jobs as inputs."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import developer as developers
from tests.lab import lab as labs
from tests.lab.agent import binary
from tests.lab.developer import Developer


@pytest.fixture
def developer(lab: labs.Lab, tmp_path: Path) -> Iterator[Developer]:
    with developers.developer(lab, tmp_path / "developer") as made:
        yield made


class Replays:
    """Replays of jobs of one fleet by one developer."""

    def __init__(self, fleet: labs.Fleet, developer: Developer) -> None:
        self.fleet = fleet
        self.developer = developer

    def record(self, command: str, **env: str) -> Path:
        """Write a record of a job as this developer's file, and return it."""
        job = self.fleet.env(command, **env)
        event = {"event": "sandbox", "image": "", "reference": self.fleet.lab.image}
        document = {"schema": 2, "version": "0", "started": "", "env": job, "events": [event]}
        path = self.developer.home / f"{job['BUILDKITE_JOB_ID']}.json"
        path.write_text(json.dumps(document))
        path.chmod(0o644)
        return path

    def arguments(self, job: Path, *more: str) -> tuple[str, ...]:
        return ("replay", str(job), "--agent", str(binary()), "--dns", labs.world.WORLD, *more)


@pytest.fixture
def replays(fleet: labs.Fleet, developer: Developer) -> Replays:
    return Replays(fleet, developer)
