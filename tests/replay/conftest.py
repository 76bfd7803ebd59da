"""A developer, a fleet whose jobs they replay, and jobs as inputs."""

import json
import subprocess
from collections.abc import Iterator, Mapping
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

    def run(
        self, command: str, *more: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Replay a job with this command to its end."""
        return self.again(self.record(command, **(env or {})), *more)

    def again(self, job: Path, *more: str) -> subprocess.CompletedProcess[bytes]:
        """Replay a recorded job to its end."""
        return self.developer.run(*self.arguments(job, *more))

    def remains(self) -> list[str]:
        """Return what replays have left in the engine and in this developer's directories."""
        found = []
        for kind in ("container", "network", "volume"):
            everything = ("--all",) if kind == "container" else ()
            shown = ("--format", "{{.Name}}" if kind != "container" else "{{.Names}}")
            command = ["docker", "-H", self.developer.docker, kind, "ls", *everything, *shown]
            listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            found += [name for name in listed.split() if name.startswith("airlock-replay-")]
        for directory in self.developer.directories():
            found += [str(path) for path in directory.glob("*")]
        return found

    def working_copy(self) -> Path:
        """Clone the repository as this developer, and return where it is."""
        path = self.developer.home / "mine"
        clone = ["git", "clone", "--quiet", self.fleet.repository, str(path)]
        assert self.developer.start(clone).wait(30) == 0
        return path

    @staticmethod
    def fingerprint(tree: Path) -> dict[str, tuple[int, int, bytes]]:
        """Return the mode, the time of the last change and the content of every file."""
        return {
            str(path): (status.st_mode, status.st_mtime_ns, path.read_bytes() if file else b"")
            for path in sorted(tree.rglob("*"))
            for status, file in [(path.lstat(), path.is_file())]
        }

    def arguments(self, job: Path, *more: str) -> tuple[str, ...]:
        return ("replay", str(job), "--agent", str(binary()), "--dns", labs.world.WORLD, *more)


@pytest.fixture
def replays(fleet: labs.Fleet, developer: Developer) -> Replays:
    return Replays(fleet, developer)
