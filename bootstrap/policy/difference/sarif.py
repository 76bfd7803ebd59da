"""Changes of access as SARIF 2.1.0, which code hosts show at the lines of a pull request."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from bootstrap.policy.difference.listing import EVERY_PIPELINE, thing
from bootstrap.policy.difference.model import EVERY, Change, Kind

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_RULES = (
    (Kind.GAINS, "warning", "Jobs may do or get more than before."),
    (
        Kind.CHANGES,
        "warning",
        "Jobs get something else than before, neither clearly more nor less.",
    ),
    (Kind.LOSES, "note", "Jobs may do or get less than before."),
)
_LEVELS = {kind: level for kind, level, _ in _RULES}


def sarif(changes: Sequence[Change], *, version: str, uri: Callable[[str], str]) -> dict[str, Any]:
    """Return one run of the tool. `uri` makes a document's origin an address for the code host."""
    rules = [
        {"id": _rule(kind), "shortDescription": {"text": text},
         "defaultConfiguration": {"level": level}}
        for kind, level, text in _RULES
    ]  # fmt: skip
    driver = {"name": "Airlock", "version": version, "rules": rules}
    results = [_result(change, uri) for change in changes]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(kind: Kind) -> str:
    return f"access-{kind}"


def _result(change: Change, uri: Callable[[str], str]) -> dict[str, Any]:
    message = _plain(_message(change))
    location = {
        "physicalLocation": {
            "artifactLocation": {"uri": uri(change.place.origin)},
            "region": {"startLine": max(1, change.place.line)},
        }
    }
    return {
        "ruleId": _rule(change.kind),
        "level": _LEVELS[change.kind],
        "message": {"text": message},
        "locations": [location],
        "partialFingerprints": {
            "change/v1": hashlib.sha256(message.encode("utf-8", "replace")).hexdigest()
        },
    }


def _message(change: Change) -> str:
    who = EVERY_PIPELINE if change.pipeline == EVERY else change.pipeline
    ways = (
        f"{f'For {way.jobs}: ' if way.jobs else ''}before: {way.before}; after: {way.after}."
        for way in change.ways
    )
    return "\n".join((f"{who} {change.kind} {thing(change)}.", *ways))


def _plain(text: str) -> str:
    """Return a message in which nothing is a link or a place to fill in (SARIF 2.1.0, 3.11)."""
    for mark, plain in (("\\", "\\\\"), ("[", "\\["), ("]", "\\]"), ("{", "{{"), ("}", "}}")):
        text = text.replace(mark, plain)
    return text
