"""`airlock policy diff`: the changes of access between two versions of all policies."""

import json
from dataclasses import asdict
from pathlib import Path

from bootstrap.commands.policy.source import Output, readable
from bootstrap.policy.difference import Change, Kind, difference
from bootstrap.policy.model import Policy
from bootstrap.policy.stores import whole
from bootstrap.text import counted

_MARKS = {Kind.GAINS: "+", Kind.LOSES: "-", Kind.CHANGES: "~"}


def diff(*, old: Path, new: Path, as_json: bool, output: Output) -> int:
    """Print every change of access. Return 1 if there is one."""
    before, after = (_policies(path) for path in (old, new))
    changes = difference(before, after)
    if as_json:
        output(json.dumps([asdict(change) for change in changes], indent=2))
    else:
        for change in changes:
            _print(change, output)
        output(counted(len(changes), "change") + " of access")
    return int(bool(changes))


def _policies(directory: Path) -> tuple[Policy, ...]:
    """Return all policies; none is fine: everything may be new, or gone."""
    read = whole.folder(directory).catalogue
    return readable(read, directory).policies if read.unreadable else read.policies


def _print(change: Change, output: Output) -> None:
    output(f"{_MARKS[change.kind]} {change.pipeline} {change.kind} {change.what} {change.name}")
    for way in change.before:
        if way not in change.after:
            output(f"    - {way}")
    for way in change.after:
        if way not in change.before:
            output(f"    + {way}")
