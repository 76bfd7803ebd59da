"""A developer on the lab's machine: a user without rights but for Docker's socket."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from tests.lab.lab import Lab
from tests.lab.launcher import holder

UID = GID = 1500
ROOT = Path(__file__).parents[2]
# Where Python is, if it is in a directory that only root may enter (root's home).
_PYTHON = Path("/opt/airlock-lab-python")


@dataclass(frozen=True, kw_only=True, slots=True)
class Developer:
    """One developer: `home` is empty at first, and `python` runs this tree's Airlock."""

    home: Path
    python: Path
    docker: str
    in_group: bool = True
    more: Mapping[str, str] = field(default_factory=dict)  # variables

    @property
    def uid(self) -> int:
        return UID

    def directories(self) -> tuple[Path, ...]:
        """Return where replays of this user keep their files, as far as there are such places."""
        state = self.home / ".local/state/airlock"
        return state / "replay", state / "run/airlock-replay"

    def command(self, *arguments: str) -> list[str]:
        return [str(self.python), "-I", "-m", "bootstrap", *arguments]

    def env(self) -> dict[str, str]:
        return {
            "HOME": str(self.home),
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "TERM": "xterm-256color",
            "DOCKER_HOST": self.docker,
            # The mounted Python would find its library only in the directory of root.
            "LD_LIBRARY_PATH": str(_PYTHON / "lib"),
            **self.more,
        }

    def start(
        self,
        command: list[str],
        *,
        stdin: IO[bytes] | int | None = None,
        stdout: IO[bytes] | int | None = None,
        stderr: IO[bytes] | int | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program as this user."""
        socket = Path(self.docker.removeprefix("unix://"))
        groups = [socket.stat().st_gid] if self.in_group else []
        return subprocess.Popen(
            command, cwd=self.home, env=self.env(), user=UID, group=GID, extra_groups=groups,
            stdin=stdin, stdout=stdout, stderr=stderr,
        )  # fmt: skip

    def run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """Run an `airlock` command as this user to its end."""
        return self.finished(self.command(*arguments))

    def finished(self, command: list[str]) -> subprocess.CompletedProcess[bytes]:
        """Run a program as this user to its end."""
        with self.start(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as program:
            output, errors = program.communicate(timeout=120)
        return subprocess.CompletedProcess(command, program.returncode, output, errors)


@contextmanager
def developer(lab: Lab) -> Iterator[Developer]:
    """Make a home and a Python that this user may run; pytest's own directories are root's only."""
    holder()
    with TemporaryDirectory(prefix="airlock-developer-") as name:
        base, home = Path(name), Path(name) / "ada"
        base.chmod(0o755)
        home.mkdir()
        os.chown(home, UID, GID)
        with _python(base / "python") as python:
            yield Developer(home=home, python=python, docker=lab.docker)


@contextmanager
def _python(venv: Path) -> Iterator[Path]:
    """Make an environment with the packages of this one, whose Python anybody may run."""
    real = Path(sys.executable).resolve()
    mounted = not _anybody_may_enter(real)
    if mounted:
        _PYTHON.mkdir(exist_ok=True)
        subprocess.run(["mount", "--bind", str(real.parents[1]), str(_PYTHON)], check=True)
        real = _PYTHON / "bin" / real.name
    try:
        subprocess.run([str(real), "-m", "venv", "--without-pip", str(venv)], check=True)
        packages = next((venv / "lib").glob("python3*")) / "site-packages"
        paths = [str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
        (packages / "tree.pth").write_text("\n".join(paths) + "\n")
        yield venv / "bin/python"
    finally:
        shutil.rmtree(venv, ignore_errors=True)
        if mounted:
            subprocess.run(["umount", "--lazy", str(_PYTHON)], check=True)


def _anybody_may_enter(path: Path) -> bool:
    return all(above.stat().st_mode & 0o001 for above in path.parents)
