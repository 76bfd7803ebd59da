"""Where a lease has what it knows of the job's builder (sandbox/builds)."""

from pathlib import Path


def directory_of(job: Path) -> Path:
    """Return the directory of the builder, below the job directory `job`; it may not exist."""
    return job / "builder"


def has_builder(job: Path) -> bool:
    """Say whether a builder of this job was begun: its directory is made first, and goes last."""
    return directory_of(job).exists()


def container_name(token: str) -> str:
    """Return the name of the container that builds for the job with this token."""
    return f"airlock-builder-{token}"
