"""`airlock policy report`: the access map as a file."""

from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from bootstrap import files
from bootstrap.commands.policy.source import Output, catalogue
from bootstrap.errors import WrongConfiguration
from bootstrap.policy.report import page
from bootstrap.text import counted


def report(*, directory: Path | None, config_path: Path, path: Path, output: Output) -> int:
    """Write the page to `path`, whole or not at all. Raises WrongConfiguration if that fails."""
    read = catalogue(directory, config_path)
    template = resources.files("bootstrap.policy").joinpath("access_map.html").read_text("utf-8")
    source = str(directory) if directory else "the host's store"
    made = page(template, read, source=source, made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    try:
        files.write(path, made.encode(), mode=0o644)
    except OSError as unwritable:
        raise WrongConfiguration(
            f"{path} cannot be written: {unwritable.strerror}",
            hint="Name another file with --output.",
        ) from unwritable
    output(f"wrote {path}: {counted(len(read.policies), 'pipeline')}")
    return 0
