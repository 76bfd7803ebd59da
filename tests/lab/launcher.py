"""The programs in C as the tests use them: compiled from the source of this tree."""

import fcntl
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "build/airlock-launcher"
SOURCES = (ROOT / "launcher/launcher.c", ROOT / "launcher/build", ROOT / "bootstrap/__init__.py")


def binary() -> Path:
    """Return the launcher, compiled first if it is missing or older than what it is made from."""
    return _compiled("launcher", PROGRAM, SOURCES)


def holder() -> Path:
    """Return the holder of replays' networks, compiled in the same way."""
    sources = (ROOT / "launcher/holder.c", *SOURCES[1:])
    return _compiled("holder", ROOT / "build/airlock-holder", sources)


def builder() -> Path:
    """Return the first program of containers that build images, compiled in the same way."""
    sources = (ROOT / "launcher/builder.c", *SOURCES[1:])
    return _compiled("builder", ROOT / "build/airlock-builder", sources)


def _compiled(name: str, program: Path, sources: tuple[Path, ...]) -> Path:
    program.parent.mkdir(exist_ok=True)
    with (program.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        newest = max(source.stat().st_mtime_ns for source in sources)
        if not program.exists() or program.stat().st_mtime_ns < newest:
            subprocess.run([ROOT / "launcher/build", program, name], check=True)
    return program
