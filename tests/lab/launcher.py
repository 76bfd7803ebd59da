"""The programs in C as the tests use them: compiled from the source of this tree."""

import fcntl
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "build/airlock-launcher"
SHARED = (
    ROOT / "launcher/freestanding.h", ROOT / "launcher/build", ROOT / "bootstrap/__init__.py",
)  # fmt: skip


def binary() -> Path:
    """Return the launcher, compiled first if it is missing or older than what it is made from."""
    return _compiled("launcher")


def holder() -> Path:
    """Return the holder of replays' networks, compiled in the same way."""
    return _compiled("holder")


def builder() -> Path:
    """Return the first program of containers that build images, compiled in the same way."""
    return _compiled("builder")


def source(name: str) -> Path:
    """Return the source of one of these programs."""
    return ROOT / f"launcher/{name}.c"


def _compiled(name: str) -> Path:
    program, sources = ROOT / f"build/airlock-{name}", (source(name), *SHARED)
    program.parent.mkdir(exist_ok=True)
    with (program.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        newest = max(source.stat().st_mtime_ns for source in sources)
        if not program.exists() or program.stat().st_mtime_ns < newest:
            subprocess.run([ROOT / "launcher/build", program, name], check=True)
    return program
