"""A git server: bare repositories over plain HTTP, read-only."""

import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.fakes.simulator import Call, Reply, Simulator, problem

IDENTITY = (
    "-c",
    "user.name=Lab",
    "-c",
    "user.email=lab@example.com",
    "-c",
    "init.defaultBranch=main",
)


class GitServer(Simulator):
    """Serves what `publish` made below `root`."""

    def __init__(self, listener: socket.socket, root: Path) -> None:
        super().__init__(listener)
        self.root = root

    def answer(self, call: Call) -> Reply:
        path = (self.root / call.path.lstrip("/")).resolve()
        if not path.is_file() or not path.is_relative_to(self.root.resolve()):
            return problem(404, "no such object")
        return Reply(body=path.read_bytes(), kind="application/octet-stream")


def publish(root: Path, name: str, files: Mapping[str, str]) -> str:
    """Make `name`.git with one commit of `files` on main and return the commit."""
    work = root / f"{name}.work"
    for path, text in files.items():
        target = work / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(0o755 if text.startswith("#!") else 0o644)
    git(work, "init", "-q")
    git(work, "add", "-A")
    git(work, "commit", "-q", "-m", "What the job checks out")
    git(work, "clone", "-q", "--bare", ".", str(root / f"{name}.git"))
    git(root / f"{name}.git", "update-server-info")
    return git(work, "rev-parse", "HEAD").strip()


def git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *IDENTITY, *arguments], cwd=directory, capture_output=True, text=True, check=True
    )
    return done.stdout
