"""`airlock record list`: the newest records of this host."""

import json
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from bootstrap.commands.policy.source import Output
from bootstrap.commands.record.kept import directory, listed
from bootstrap.errors import AirlockError
from bootstrap.replay.inputs import from_record
from bootstrap.replay.inputs.content import content
from bootstrap.replay.inputs.recognised import document_of
from bootstrap.replay.model import RecordedEnd
from bootstrap.text import printable


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One record. `ended` is how, in words."""

    job: str
    pipeline: str
    build: str
    started: str
    ended: str
    file: str


def list_records(*, config_path: Path, limit: int, as_json: bool, output: Output) -> int:
    """Print the newest records, one a line. Raises WrongConfiguration if they cannot be read."""
    found = [_entry(path) for path in islice(listed(directory(config_path)), limit)]
    if as_json:
        output(json.dumps([asdict(entry) for entry in found], indent=2))
        return 0
    for entry in found:
        names = f"{entry.pipeline} #{entry.build}" if entry.pipeline else "?"
        output(f"{entry.started or '?':20} {names:30} {entry.job or entry.file}  {entry.ended}")
    return 0


def _entry(path: Path) -> Entry:
    try:
        document: Any = document_of(content(str(path)))
        ended = from_record.ended_of(from_record.events_of(document))
    except (AirlockError, ValueError, AttributeError) as broken:
        text = f"cannot be read: {printable(str(broken))}"
        return Entry(job="", pipeline="", build="", started="", ended=text, file=str(path))
    names = {name: printable(str(document.get(name, ""))) for name in
             ("job", "pipeline", "build", "started")}  # fmt: skip
    return Entry(**names, ended=_in_words(ended), file=str(path))


def _in_words(ended: RecordedEnd | None) -> str:
    if ended is None:
        return "not known to have ended"
    status = ended.signal or f"exit {'?' if ended.code is None else ended.code}"
    whose = f" ({ended.whose})" if ended.whose == "airlock" else ""
    problem = f": {printable(ended.problem)}" if ended.problem else ""
    return f"{status}{whose}{problem}"
