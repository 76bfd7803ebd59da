"""`airlock policy draft`: first versions of policies, from the records of observed jobs."""

import json
from pathlib import Path
from typing import Any

import yaml

from bootstrap.commands.policy.source import Output, save
from bootstrap.errors import WrongConfiguration
from bootstrap.host import config
from bootstrap.policy.draft import drafts
from bootstrap.text import counted


def draft(*, records: Path | None, directory: Path, config_path: Path, output: Output) -> int:
    """Write <slug>.yaml for every pipeline of the job records that has none in `directory` yet."""
    source = records or config.load(config_path).paths.state / "records"
    made = drafts(_observed(source, output))
    written = 0
    for slug, document in made.items():
        path = directory / f"{slug}.yaml"
        if "/" in slug or path.exists():
            output(f"{path} exists and was not changed")
            continue
        head = f"# Drafted from {source}. The rules grant nothing yet: add what each needs.\n"
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
        save(path, (head + text).encode(), parents=True)
        written += 1
    output(f"wrote {counted(written, 'draft')} to {directory}")
    return 0


def _observed(source: Path, output: Output) -> list[dict[str, str]]:
    try:
        paths = sorted(path for path in source.iterdir() if path.suffix == ".json")
    except OSError as unreadable:
        raise WrongConfiguration(
            f"the records in {source} cannot be read: {unreadable.strerror}",
            hint="Name a directory of job records. A host keeps them in /var/lib/airlock/records.",
        ) from unreadable
    return [env for path in paths if (env := _env(path, output))]


def _env(path: Path, output: Output) -> dict[str, str]:
    """Return the environment of one record; its secret values are not there, and not needed."""
    try:
        record: Any = json.loads(path.read_text())
        env = record.get("env") or {}
        return {name: value for name, value in env.items() if isinstance(value, str)}
    except (OSError, ValueError, AttributeError) as unreadable:
        output(f"{path} was passed over, it is not the record of a job: {unreadable}")
        return {}
