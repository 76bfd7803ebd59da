"""Where a lease has what it knows of the job's builder (sandbox/builds)."""

from pathlib import Path


def directory_of(job: Path) -> Path:
    """Return the directory of the builder, below the job directory `job`; it may not exist."""
    return job / "builder"
