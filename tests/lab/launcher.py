"""The launcher as the tests use it: compiled from the source of this tree."""

import fcntl
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "build/airlock-launcher"
SOURCES = (ROOT / "launcher/launcher.c", ROOT / "launcher/build", ROOT / "bootstrap/__init__.py")


def binary() -> Path:
    """Return the launcher, compiled first if it is missing or older than what it is made from."""
    PROGRAM.parent.mkdir(exist_ok=True)
    with (PROGRAM.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        newest = max(source.stat().st_mtime_ns for source in SOURCES)
        if not PROGRAM.exists() or PROGRAM.stat().st_mtime_ns < newest:
            subprocess.run([ROOT / "launcher/build", PROGRAM], check=True)
    return PROGRAM
