"""A developer, a fleet whose jobs they replay, and jobs as inputs."""

import json
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab import developer as developers
from tests.lab import lab as labs
from tests.lab import world
from tests.lab.agent import binary
from tests.lab.developer import Developer
from tests.lab.engine import eventually

# Those of the lab's hosts: tests/lab/lab.py.
LIMITS = {"memory": 2 << 30, "open_files": 4096}


@pytest.fixture
def developer(lab: labs.Lab) -> Iterator[Developer]:
    with developers.developer(lab) as made:
        yield made


class Replays:
    """Replays of jobs of one fleet by one developer."""

    def __init__(self, fleet: labs.Fleet, developer: Developer) -> None:
        self.fleet = fleet
        self.developer = developer
        self._files = fleet.base

    def record(self, command: str, **env: str) -> Path:
        """Write a record of a job as this developer's file, and return it."""
        job = self.fleet.env(command, **env)
        event = {
            "event": "sandbox", "reference": self.fleet.lab.image, "spec": LIMITS,
            "image": self._docker("inspect", "-f", "{{.Id}}", self.fleet.lab.image).strip(),
        }  # fmt: skip
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

    @contextmanager
    def started(self, job: Path, *more: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start a replay, and kill it at the end if it still runs."""
        arguments = self.developer.command(*self.arguments(job, *more))
        with (
            (self._files / "errors").open("wb") as errors,
            self.developer.start(
                arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
            ) as running,
        ):
            try:
                yield running
            finally:
                running.kill()

    @contextmanager
    def running(self, command: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start a replay, and wait until its job has begun; its output goes to `output`."""
        arguments = self.developer.command(*self.arguments(self.record(command)))
        files = self._files / "output", self._files / "errors"
        with (
            files[0].open("wb") as output,
            files[1].open("wb") as errors,
            self.developer.start(
                arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=errors
            ) as running,
        ):
            try:
                eventually(lambda: b"Running commands" in self.output, "the command begins")
                yield running
            finally:
                running.kill()

    @property
    def output(self) -> bytes:
        return (self._files / "output").read_bytes()

    @property
    def errors(self) -> str:
        return (self._files / "errors").read_text()

    def inspected(self, what: str, suffix: str = "") -> str:
        """Return a property of the container of the one replay that runs."""
        listed = self._docker("ps", "--format", "{{.Names}}").split()
        (name,) = [one for one in listed if one.startswith("airlock-replay-")
                   and one.endswith("-network") == bool(suffix)]  # fmt: skip
        return self._docker("inspect", "-f", what, name).strip()

    def empty_image(self, directory: Path) -> str:
        """Import an image in which there is nothing."""
        archive = directory / "empty.tar"
        with tarfile.open(archive, "w"):
            pass
        return self._docker("import", str(archive)).strip()

    @contextmanager
    def changed_image(self) -> Iterator[str]:
        """Yield the name of an image that is the lab's but for a label."""
        name = "airlock-lab/changed:1"
        container = self._docker("create", self.fleet.lab.image, "true").strip()
        try:
            self._docker("commit", "--change", "LABEL changed=yes", container, name)
            yield name
        finally:
            self._docker("rm", container)
            self._docker("rmi", name)

    def _docker(self, *arguments: str) -> str:
        command = ["docker", "-H", self.developer.docker, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def remains(self) -> list[str]:
        """Return what replays have left in the engine and in this developer's directories."""
        found = []
        for kind in ("container", "network", "volume"):
            everything = ("--all",) if kind == "container" else ()
            shown = ("--format", "{{.Name}}" if kind != "container" else "{{.Names}}")
            listed = self._docker(kind, "ls", *everything, *shown)
            found += [name for name in listed.split() if name.startswith("airlock-replay-")]
        for directory in self.developer.directories():
            found += [str(path) for path in directory.glob("*")]
        return found

    def working_copy(self, name: str) -> Path:
        """Clone the repository as this developer, and return where it is."""
        path = self.developer.home / name
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
        return ("replay", str(job), "--agent", str(binary()), "--dns", world.WORLD, *more)


@pytest.fixture
def replays(fleet: labs.Fleet, developer: Developer) -> Replays:
    return Replays(fleet, developer)
