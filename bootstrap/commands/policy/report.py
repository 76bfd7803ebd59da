"""`airlock policy report`: the access map as a file."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from bootstrap.commands.policy.source import Output, catalogue, require_policies, save
from bootstrap.errors import WrongConfiguration
from bootstrap.policy.accounts import account_names
from bootstrap.policy.report import Parts, page
from bootstrap.text import counted


def report(
    *,
    directory: Path | None,
    config_path: Path,
    accounts: Path | None,
    path: Path,
    as_json: bool,
    output: Output,
) -> int:
    """Write the page to `path`, whole or not at all. Raises WrongConfiguration."""
    names = _names(accounts) if accounts else {}
    read = catalogue(directory, config_path)
    require_policies(read, directory, done="written")
    source = str(directory) if directory else "the host's store"
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    save(path, page(_parts(), read, source=source, made=now, names=names).encode())
    if as_json:
        numbers = {"pipelines": len(read.policies), "with_mistakes": len(read.unreadable)}
        origins = [document.origin for document in read.unreadable]
        output(json.dumps({"written": str(path), **numbers, "documents_with_mistakes": origins}))
        return 0
    documents = counted(len(read.unreadable), "document")
    mistakes = (
        f", {documents} with mistakes (see `airlock policy lint`):" if read.unreadable else ""
    )
    output(f"wrote {path}: {counted(len(read.policies), 'pipeline')}{mistakes}")
    for document in read.unreadable:
        output(f"  {document.origin}")
    return 0


def _parts() -> Parts:
    """Read the page's own files. The template needs the line end that hashes do not count."""
    folder = resources.files("bootstrap.policy")
    html, css, js = (
        folder.joinpath(f"access_map.{end}").read_text("utf-8").rstrip("\n")
        for end in ("html", "css", "js")
    )
    return Parts(html=f"{html}\n", css=css, js=js)


def _names(path: Path) -> Mapping[str, str]:
    try:
        return account_names(path.read_text("utf-8"))
    except (OSError, ValueError) as unusable:
        why = unusable.strerror if isinstance(unusable, OSError) else str(unusable)
        raise WrongConfiguration(
            f"the accounts in {path} cannot be read: {why}",
            hint="Save the output of `aws organizations list-accounts`, or write a JSON object "
            'such as {"111122223333": "production"}.',
        ) from unusable
