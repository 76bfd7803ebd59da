"""`airlock policy diff`: the changes of access between two versions of all policies."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, assert_never
from urllib.parse import quote

from bootstrap import __version__
from bootstrap.commands.policy.source import Form, Output, complete, save, ssm_path
from bootstrap.errors import WrongConfiguration
from bootstrap.forms import FileStore
from bootstrap.host import config
from bootstrap.host.config import Host
from bootstrap.policy.catalogue import Catalogue
from bootstrap.policy.difference import Change, difference
from bootstrap.policy.difference.listing import lines, summary
from bootstrap.policy.difference.markdown import markdown
from bootstrap.policy.difference.model import EVERY
from bootstrap.policy.difference.sarif import sarif
from bootstrap.policy.stores import whole
from bootstrap.policy.stores.choose import guardrails_now
from bootstrap.policy.stores.remote import remote, require_place
from bootstrap.policy.stores.ssm import Ssm

VERSION = 1  # of the JSON; another one only if a field goes or means something else


def diff(
    *,
    old: Path | None,
    new: Path,
    config_path: Path,
    form: Form,
    allow_empty: bool,
    save_versions: Path | None,
    output: Output,
) -> int:
    """Print every change of access. Return 1 if there is one.

    `old` None is the host's store; the versions of its parameters are written to `save_versions`.

    Raises WrongConfiguration if a side cannot be read as a whole, or has no document at all while
    `allow_empty` is false: what is not read would look like access that was taken away.
    """
    if old is None:
        before, after = _store_and(new, config_path, save_versions)
    elif save_versions is not None:
        raise WrongConfiguration(
            f"--save-versions records the store, and {old} is a directory",
            hint="Write `store` in place of the directory, or leave the option out.",
        )
    else:
        before, after = whole.versions(old, new)
    for side, path in ((before, old), (after, new)):
        complete(side, path, allow_empty=allow_empty)
    changes = difference(before, after)
    _print(changes, form, output)
    return int(bool(changes))


def _store_and(
    new: Path, config_path: Path, save_versions: Path | None
) -> tuple[Catalogue, Catalogue]:
    """Read what the hosts have now, and the directory as `push` would write it."""
    host = config.load(config_path)
    after = whole.folder(new, with_cases=False).catalogue
    if isinstance(host.policy.store, FileStore):
        if save_versions is not None:
            ssm_path(host.policy.store)
        return _files_and(host, host.policy.store.path, after)
    found = remote(host, host.policy.store.path, Ssm(host.aws))
    if save_versions is not None:
        save(save_versions, found.versions().content())
    if found.guardrails_path:
        return found.catalogue(), after
    require_place(host, after.guardrails)
    ours = guardrails_now(host)  # of a file on this host, which push does not change
    return replace(found.catalogue(), guardrails=ours), replace(after, guardrails=ours)


def _files_and(host: Host, store: Path, after: Catalogue) -> tuple[Catalogue, Catalogue]:
    """Guardrails that are not in the host's directory stay, whatever is copied to that."""
    before = whole.store(host)
    require_place(host, after.guardrails)
    inside = FileStore(path=store / whole.GUARDRAILS)
    if after.guardrails is None and host.policy.guardrails != inside:
        return before, replace(after, guardrails=before.guardrails)
    return before, after


def _print(changes: Sequence[Change], form: Form, output: Output) -> None:
    match form:
        case Form.TEXT:
            for line in lines(changes):
                output(line)
        case Form.MARKDOWN:
            output(markdown(changes).rstrip("\n"))
        case Form.JSON:
            output(json.dumps(_document(changes), indent=2))
        case Form.SARIF:
            output(json.dumps(sarif(changes, version=__version__, uri=_uri), indent=2))
        case never:
            assert_never(never)


def _document(changes: Sequence[Change]) -> dict[str, Any]:
    """Return the changes for programs; the pipeline is null where all of them are concerned."""
    listed = [
        {**asdict(change), "pipeline": None if change.pipeline == EVERY else change.pipeline}
        for change in changes
    ]
    return {"version": VERSION, "summary": summary(changes), "changes": listed}


def _uri(origin: str) -> str:
    """Return a path as code hosts name the files of a repository: relative to where this runs."""
    path = Path(origin)
    here = Path.cwd()
    if path.is_absolute() and path.is_relative_to(here):
        path = path.relative_to(here)
    return f"{'file://' if path.is_absolute() else ''}{quote(os.fsencode(path))}"
