"""`airlock policy draft`: first versions of policies, from the records of observed jobs."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bootstrap.commands.policy.source import Output, save
from bootstrap.errors import WrongConfiguration
from bootstrap.host import config
from bootstrap.policy.draft import Observed, drafts
from bootstrap.policy.egress import EgressGrant
from bootstrap.policy.egress_schema import EgressNode
from bootstrap.policy.layout import neat
from bootstrap.policy.proposals import as_yaml, is_file_name
from bootstrap.progress import working
from bootstrap.text import counted, printable


def draft(
    *,
    records: Path | None,
    directory: Path,
    config_path: Path,
    output: Output,
    as_json: bool = False,
) -> int:
    """Write <slug>.yaml for every pipeline of the job records that has none in `directory` yet."""
    source = records or config.load(config_path).paths.state / "records"
    skipped: list[str] = []
    with working(f"reading {source}"):
        made = drafts(_observed(source, skipped))
    written = []
    for slug, document in made.items():
        path = directory / f"{slug}.yaml"
        if not is_file_name(slug):
            skipped.append(f"{slug!r} is not the name of a policy's file")
            continue
        if path.exists():
            skipped.append(f"{path} exists and was not changed")
            continue
        place = printable(str(source))
        head = f"# Drafted from {place}. The rules grant nothing yet: add what each needs.\n"
        save(path, neat(head + as_yaml(document)).encode(), parents=True)
        written.append(str(path))
    if as_json:
        output(json.dumps({"written": written, "skipped": skipped}))
        return 0
    for reason in skipped:
        output(reason)
    output(f"wrote {counted(len(written), 'draft')} to {directory}")
    return 0


def _observed(source: Path, skipped: list[str]) -> list[Observed]:
    try:
        paths = sorted(path for path in source.iterdir() if path.suffix == ".json")
    except OSError as unreadable:
        raise WrongConfiguration(
            f"the records in {source} cannot be read: {unreadable.strerror}",
            hint="Name a directory of job records. A host keeps them in /var/lib/airlock/records.",
        ) from unreadable
    return [one for path in paths if (one := _job(path, skipped))]


def _job(path: Path, skipped: list[str]) -> Observed | None:
    """Return one record's job; its secret values are not there, and not needed."""
    try:
        record: Any = json.loads(path.read_text())
        env = {n: value for n, value in (record.get("env") or {}).items() if isinstance(value, str)}
        events = record.get("events") or []
        ran = any(event.get("event") == "sandbox" for event in events)
        return Observed(env=env, ran=ran, reached=_reached(events, path, skipped))
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as unreadable:
        skipped.append(f"{path} was passed over, it is not the record of a job: {unreadable}")
        return None


def _reached(events: list[dict[str, Any]], path: Path, skipped: list[str]) -> EgressGrant | None:
    """Return what the job reached, None if that is not recorded."""
    found = [event["proposed"] for event in events if event.get("proposed")]
    try:
        return EgressNode.model_validate(found[-1]).grant() if found else None
    except ValidationError as unusable:
        mistakes = counted(unusable.error_count(), "mistake")
        skipped.append(f"{path}: what its job reached is no list for a policy ({mistakes})")
        return None
