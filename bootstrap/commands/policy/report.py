"""`airlock policy report`: the access map as a file."""

from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from bootstrap.commands.policy.source import Output, catalogue, save
from bootstrap.policy.report import page
from bootstrap.text import counted


def report(*, directory: Path | None, config_path: Path, path: Path, output: Output) -> int:
    """Write the page to `path`, whole or not at all. Raises WrongConfiguration."""
    read = catalogue(directory, config_path)
    template = resources.files("bootstrap.policy").joinpath("access_map.html").read_text("utf-8")
    source = str(directory) if directory else "the host's store"
    made = page(template, read, source=source, made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    save(path, made.encode())
    mistakes = f", {counted(len(read.unreadable), 'document')} with mistakes"
    output(
        f"wrote {path}: {counted(len(read.policies), 'pipeline')}"
        f"{mistakes if read.unreadable else ''}"
    )
    return 0
