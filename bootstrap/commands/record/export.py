"""`airlock record export`: a job's record without secrets, to be given to a developer."""

import json
from pathlib import Path

from bootstrap import files
from bootstrap.commands.policy.source import Output
from bootstrap.commands.record.kept import file_of
from bootstrap.errors import WrongConfiguration
from bootstrap.replay.exported import exported
from bootstrap.replay.inputs.content import STANDARD_INPUT, content, wrong
from bootstrap.replay.inputs.recognised import document_of
from bootstrap.text import printable


def export(*, named: str, config_path: Path, path: Path | None, output: Output) -> int:
    """Print the record of a job, or write it to `path`, readable by its owner alone.

    `named` is a job's id on this host, a file, or `-`. Raises WrongConfiguration if there is no
    such record, if it cannot be read, or if the file cannot be written.
    """
    source = named if named == STANDARD_INPUT else str(file_of(named, config_path))
    try:
        document = document_of(content(source))
        if not isinstance(document, dict):
            raise wrong(source, "is not the record of a job: it is not a JSON object")
        found = exported(document)
    except ValueError as broken:
        raise wrong(source, f"is no record that can be exported: {broken}") from broken
    text = json.dumps(found, indent=2)  # ASCII: a terminal shows it whole
    if path is None:
        output(text)
    else:
        _write(path, text)
        output(f"wrote {path}. {_summary(found)}")
    return 0


def _summary(found: dict[str, object]) -> str:
    masked = found["masked"]
    names = printable(", ".join(masked), limit=400) if isinstance(masked, list) else ""
    parts = f", and masked a part of {names}" if names else ""
    return f"It has no value that is secret by its name{parts}. Read it before you send it on"


def _write(path: Path, text: str) -> None:
    try:
        files.write(path, f"{text}\n".encode())
    except (OSError, ValueError) as failed:
        why = failed.strerror if isinstance(failed, OSError) else "it names no file"
        raise WrongConfiguration(
            f"{printable(str(path))} cannot be written: {why}",
            hint="Choose a path that you can write to.",
        ) from failed
