"""`airlock policy simulate`: recorded jobs, decided again by proposed policies."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from bootstrap.commands.policy.hosted import host_of
from bootstrap.commands.policy.source import Output
from bootstrap.errors import AirlockError, WrongConfiguration
from bootstrap.host import config
from bootstrap.policy import history
from bootstrap.policy.history import Recorded
from bootstrap.policy.model import Guardrails, Policy
from bootstrap.policy.simulation import (
    Change,
    Documents,
    Kind,
    Totals,
    changed,
    is_grant_known,
)
from bootstrap.policy.stores import whole
from bootstrap.policy.stores.choose import Now
from bootstrap.text import counted, printable

PIPELINES, CHANGES, FILES = 50, 10, 5  # printed at most; in JSON ten times as many


@dataclass(kw_only=True, slots=True)
class _Read:
    """What was not replayed."""

    passed_over: list[str] = field(default_factory=list)
    jobs: set[str] = field(default_factory=set)


def simulate(
    *,
    directory: Path | None,
    records: Path | None,
    against: Path | None,
    config_path: Path,
    as_json: bool,
    output: Output,
) -> int:
    """Print which decisions and grants would change. Return 1 if one does, or may.

    The decisions are compared with those of the policies in `against`, or with what was recorded.
    Raises WrongConfiguration if there are no records, or a directory cannot be listed.
    """
    for named in (directory, against):
        if named is not None:  # a host would refuse every job, which nobody asked about
            whole.listed(named)
    source = records or config.load(config_path).paths.state / "records"
    proposed = _documents(directory, config_path)
    current = _documents(against, config_path) if against else None
    read, totals = _Read(), Totals()
    signed = host_of(directory, config_path).policy.identity == "signed"
    for recorded in _recorded(source, read):
        job = replace(recorded, is_signed=True) if signed else recorded
        totals.add(job, changed(job, proposed, current))
        totals.without_grant += current is None and not is_grant_known(job)
    if not totals.jobs:
        raise WrongConfiguration(
            f"{source} holds no record of a job, so nothing was replayed",
            hint="Records of jobs are <job id>.json, in /var/lib/airlock/records on a host. "
            "records.jsonl has decisions without the jobs' environments.",
            details=tuple(printable(one, limit=500) for one in read.passed_over[:FILES]),
        )
    without = _without_record(source, read.jobs)
    if as_json:
        output(json.dumps(_document(totals, read, without), indent=2))
    else:
        _print(totals, read, without, output)
    return int(totals.unchanged < totals.jobs or bool(read.passed_over))


def _documents(directory: Path | None, config_path: Path) -> Documents:
    """Return what reads the documents of a host, each once, mistakes included."""
    host = host_of(directory, config_path)
    now = Now(host)

    @cache
    def known(pipeline: str) -> tuple[Policy | None, Guardrails | None] | WrongConfiguration:
        try:
            found = now.documents(pipeline)
        except WrongConfiguration as mistakes:
            return mistakes
        return found.policy, found.guardrails

    def read(pipeline: str) -> tuple[Policy | None, Guardrails | None]:
        found = known(pipeline)
        if isinstance(found, WrongConfiguration):
            raise found
        return found

    return read


def _recorded(source: Path, read: _Read) -> Iterator[Recorded]:
    for path in _listed(source, ".json"):
        try:
            job = history.recorded(json.loads(path.read_bytes()))
        except AirlockError as refused:
            read.passed_over.append(f"{path}: {refused.problem}")
        except (OSError, ValueError, RecursionError) as broken:
            read.passed_over.append(f"{path}: {broken}")
        else:
            read.jobs.add(job.job)
            yield job


def _listed(source: Path, suffix: str) -> list[Path]:
    try:
        if source.is_file():
            return [source] if source.suffix == suffix else []
        return sorted(path for path in source.iterdir() if path.suffix == suffix)
    except OSError as unreadable:
        raise WrongConfiguration(
            f"the records in {source} cannot be read: {unreadable.strerror}",
            hint="Name a directory of job records. A host keeps them in /var/lib/airlock/records.",
        ) from unreadable


def _without_record(source: Path, jobs: set[str]) -> int:
    """Return how many jobs the audit trail in the directory has beside those that were replayed."""
    found: set[str] = set()
    for path in _listed(source, ".jsonl"):
        with path.open("rb") as lines:
            found |= set(_jobs(lines))
    return len(found - jobs)


def _jobs(lines: Iterable[bytes]) -> Iterator[str]:
    for line in lines:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and event.get("event") in ("admitted", "denied"):
            yield str(event.get("job"))


def _print(totals: Totals, read: _Read, without: int, output: Output) -> None:
    for pipeline, changes in _largest(totals)[:PIPELINES]:
        output(f"{pipeline}: {counted(sum(c.jobs for c in changes), 'job')} of other outcome")
        for change in changes[:CHANGES]:
            output(f"    {change.kind}, {counted(change.jobs, 'job')}: {change.text}")
            output(f"        as build {printable(change.build)}, job {printable(change.job)}")
        _more(len(changes) - CHANGES, "    and {} more", output)
    _more(len(totals.changes) - PIPELINES, "and {} more pipelines", output)
    for problem in read.passed_over[:FILES]:
        output(f"passed over: {printable(problem, limit=500)}")
    _more(len(read.passed_over) - FILES, "passed over: {} more files", output)
    _more(without, "{} jobs in records.jsonl have no record, and were not replayed", output)
    text = "of {} jobs no record holds what they received: only their rules were compared;"
    _more(totals.without_grant, f"{text} --against DIR compares whole grants", output)
    kinds = ", ".join(f"{totals.of(kind)} {kind}" for kind in Kind)
    files = len(read.passed_over)
    also = f"; {counted(files, 'file')} passed over" if files else ""
    output(f"{counted(totals.jobs, 'job')}, {totals.unchanged} unchanged: {kinds}{also}")


def _more(number: int, text: str, output: Output) -> None:
    if number > 0:
        output(text.format(number))


def _largest(totals: Totals) -> list[tuple[str, list[Change]]]:
    """Return the pipelines with changes, and the changes, those of the most jobs first."""
    by_pipeline = [
        (pipeline, sorted(found.values(), key=lambda change: (-change.jobs, change.text)))
        for pipeline, found in totals.changes.items()
    ]
    return sorted(by_pipeline, key=lambda entry: (-sum(c.jobs for c in entry[1]), entry[0]))


def _document(totals: Totals, read: _Read, without: int) -> dict[str, Any]:
    listed = _largest(totals)
    return {
        "jobs": totals.jobs,
        "unchanged": totals.unchanged,
        "changes": {kind.value: totals.of(kind) for kind in Kind},
        "pipelines": [
            {
                "pipeline": pipeline,
                "changes": [asdict(change) for change in changes[: 10 * CHANGES]],
                "left-out": max(0, len(changes) - 10 * CHANGES),
            }
            for pipeline, changes in listed[: 10 * PIPELINES]
        ],
        "pipelines-left-out": max(0, len(listed) - 10 * PIPELINES),
        "passed-over": read.passed_over[: 10 * FILES],
        "passed-over-left-out": max(0, len(read.passed_over) - 10 * FILES),
        "without-record": without,
        "grants-not-compared": totals.without_grant,
    }
