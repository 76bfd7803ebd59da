"""`airlock policy diff`: who gains and who loses what between two versions of all policies."""

import json
from dataclasses import asdict
from pathlib import Path

from bootstrap.commands.policy.source import Say
from bootstrap.policy.difference import Change, Kind, difference
from bootstrap.policy.stores import whole

_MARKS = {Kind.GAINS: "+", Kind.LOSES: "-", Kind.CHANGES: "~"}


def diff(*, old: Path, new: Path, as_json: bool, say: Say) -> int:
    """Print every change of access; 1 if there is one, as diff does."""
    before, after = (whole.folder(path).catalogue.policies for path in (old, new))
    changes = difference(before, after)
    if as_json:
        say(json.dumps([asdict(change) for change in changes], indent=2))
    else:
        for change in changes:
            _print(change, say)
        say(f"{len(changes)} changes of access" if changes else "no change of access")
    return int(bool(changes))


def _print(change: Change, say: Say) -> None:
    say(f"{_MARKS[change.kind]} {change.pipeline} {change.kind} {change.what} {change.name}")
    for way in change.before:
        if way not in change.after:
            say(f"    - {way}")
    for way in change.after:
        if way not in change.before:
            say(f"    + {way}")
