"""`airlock policy report`: the access map as a file."""

from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from bootstrap.commands.policy.source import Say, catalogue
from bootstrap.errors import WrongConfiguration
from bootstrap.policy.report import page


def report(*, directory: Path | None, config_path: Path, output: Path, say: Say) -> int:
    """Write the page, whole or not at all. Raises WrongConfiguration if it cannot be written."""
    read = catalogue(directory, config_path)
    template = resources.files("bootstrap.policy").joinpath("access_map.html").read_text("utf-8")
    source = str(directory) if directory else "the host's store"
    made = page(template, read, source=source, made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    fresh = output.with_name(f".{output.name}.new")
    try:
        fresh.write_text(made, encoding="utf-8")
        fresh.replace(output)
    except OSError as unwritable:
        raise WrongConfiguration(
            f"{output} cannot be written: {unwritable.strerror}", hint="Name another --output."
        ) from unwritable
    say(f"wrote {output}, {len(read.policies)} pipelines")
    return 0
