"""`airlock why`: would this job be admitted now, and what changed since it was recorded."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bootstrap import __version__
from bootstrap.commands.policy import explain
from bootstrap.commands.policy.asked import Asked
from bootstrap.commands.policy.hosted import host_of
from bootstrap.commands.policy.source import Output
from bootstrap.job.model import Known, Provenance
from bootstrap.policy import builds, history, since
from bootstrap.policy.decide import with_commit
from bootstrap.policy.history import Recorded
from bootstrap.policy.stores.choose import Now
from bootstrap.replay.inputs import needed
from bootstrap.replay.inputs.read import read_input
from bootstrap.replay.model import InputOptions, Kind, ReplayInput
from bootstrap.text import printable


def why(
    *,
    source: str,
    options: InputOptions,
    commit_on_branch: str | None,
    env: Mapping[str, str],
    directory: Path | None,
    config_path: Path,
    as_json: bool,
    output: Output,
) -> int:
    """Print the decision and the changes; 0 if the job is admitted, 77 if not.

    `env` is the environment of whoever runs the command. Raises what `read_input` raises, and what
    a host raises for the job.
    """
    found = read_input(source, env, options)
    needed.require_complete(found)
    recorded = history.recorded(_as_record(found))
    host = host_of(directory, config_path)
    documents = Now(host).documents(recorded.claims.pipeline)
    claims = recorded.claimed(documents.policy)
    if host.policy.identity == "signed":
        claims = builds.signed(claims, documents.policy)
    if commit_on_branch:
        claims = with_commit(claims, Known(value=commit_on_branch, provenance=Provenance.HOST))
    judged = explain.judged(Asked(claims=claims, documents=documents, hidden=recorded.hidden))
    changes = _changes(found, recorded, judged)
    if as_json:
        output(json.dumps(_document(found, judged, changes), indent=2, default=str))
        return judged.status
    for line in (*needed.summary(found), *_then(found, changes)):
        output(line)
    explain.show(judged, observed=host.policy.observes(claims.pipeline), output=output)
    return judged.status


def _as_record(found: ReplayInput) -> dict[str, Any]:
    """Return the job as a record, which may have no event."""
    hidden: dict[str, str | None] = dict.fromkeys(found.unknown)
    return {
        "env": {**hidden, **found.env},
        "masked": [name for name in found.unknown if name in found.env],
        "events": list(found.run.events) if found.run else [],
    }


def _changes(
    found: ReplayInput, recorded: Recorded, judged: explain.Judged
) -> tuple[since.Change, ...] | None:
    """Return what changed, None if there is nothing to compare with."""
    if found.run is None or not found.run.decision:
        return None
    return since.changes(found.run.decision, recorded.decided, judged.decision)


def _then(found: ReplayInput, changes: tuple[since.Change, ...] | None) -> list[str]:
    if changes is None:
        what = "the record has no decision" if found.kind is Kind.RECORD else "it is no record"
        return [f"{printable(found.source, limit=300)}: {what}, so that nothing is compared"]
    started = printable(found.run.started) if found.run else "?"
    if not changes:
        return [f"since {started}: nothing changed"]
    return [
        f"since {started}:",
        *(f"  {change.what}{f' {change.of}' if change.of else ''}: {change.then} -> {change.now}"
          for change in changes),
    ]  # fmt: skip


def _document(
    found: ReplayInput, judged: explain.Judged, changes: tuple[since.Change, ...] | None
) -> dict[str, Any]:
    then: dict[str, Any] | None = None
    if found.run is not None and changes is not None:
        event = found.run.decision.get("event")
        then = {"started": found.run.started, "version": found.run.version,
                "admitted": event == "admitted"}  # fmt: skip
    return {
        **explain.document(judged),
        "source": found.source,
        "version": __version__,
        "unknown": list(found.unknown),
        "assumed": list(found.assumed),
        "then": then,
        "changes": None if changes is None else [asdict(change) for change in changes],
    }
