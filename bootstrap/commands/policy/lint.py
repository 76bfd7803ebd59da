"""`airlock policy lint`: mistakes and risks in policies, before a job runs by them."""

import json
from collections.abc import Collection, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import assert_never

from bootstrap.commands.policy.hosted import host_of
from bootstrap.commands.policy.source import Output, require_policies
from bootstrap.errors import WrongConfiguration
from bootstrap.forms import FileStore, SsmStore
from bootstrap.host.config import Host
from bootstrap.policy.catalogue import Catalogue
from bootstrap.policy.findings import MEANINGS, Finding, Severity
from bootstrap.policy.lint import linted, unknown
from bootstrap.policy.stores import as_host, whole
from bootstrap.policy.stores.choose import Now
from bootstrap.text import counted


def lint(
    *,
    directory: Path | None,
    config_path: Path,
    ignore: Collection[str],
    as_json: bool,
    output: Output,
) -> int:
    """Print every finding. Return 1 if one of them is an error.

    Raises WrongConfiguration if there is nothing to check, and for an id that names no finding or
    one that cannot be ignored.
    """
    _check_ids(ignore)
    host = host_of(directory, config_path)
    read, others = documents(host)
    require_policies(read, directory)
    known = linted(read, signed=host.policy.identity == "signed")
    listed = (*known.findings, *others)
    found = [finding for finding in listed if finding.id not in ignore]
    if as_json:
        output(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        hidden = _not_shown(known.answered, len(listed) - len(found))
        _print(found, len(read.policies), hidden, output)
    return int(any(finding.severity is Severity.ERROR for finding in found))


def _check_ids(ignore: Collection[str]) -> None:
    problems = tuple(f"--ignore {name}: {why}" for name in ignore if (why := unknown(name)))
    if problems:
        raise WrongConfiguration(
            "; ".join(problems),
            hint=f"Findings that can be named: {', '.join(sorted(MEANINGS))}.",
        )


def documents(host: Host) -> tuple[Catalogue, tuple[Finding, ...]]:
    """Return all documents of the host's store, and findings about what is beside them.

    Raises WrongConfiguration and CannotStart if the store cannot be read.
    """
    match host.policy.store:
        case FileStore(path=directory):
            read = as_host.read(directory, Now(host))
            return read.catalogue, (*_not_read(read), *_unused_guardrails(directory, host))
        case SsmStore():
            return whole.store(host), ()
        case never:
            assert_never(never)


def _not_read(read: as_host.Directory) -> Iterator[Finding]:
    for path in read.others:
        yield Finding(
            id="not-read",
            severity=Severity.WARNING,
            origin=str(path),
            line=0,
            text="there are documents in this directory, and Airlock reads none of them",
            fix="Move them up: policies are directly in the store's directory.",
        )


def _unused_guardrails(directory: Path, host: Host) -> Iterator[Finding]:
    path = directory / whole.GUARDRAILS
    if path.exists() and host.policy.guardrails != FileStore(path=path):
        yield Finding(
            id="guardrails-not-used",
            severity=Severity.ERROR,
            origin=str(path),
            line=1,
            text="these guardrails bind no policy: policy.guardrails in airlock.toml is "
            f"{host.policy.guardrails or 'not set'}",
            fix=f'Write guardrails = "file:{path.absolute()}" there.',
        )


def _not_shown(answered: int, ignored: int) -> str:
    """Return how many findings comments and --ignore keep from being printed, in words."""
    parts = (
        f"{counted(answered, 'finding')} answered by a comment" if answered else "",
        f"{counted(ignored, 'finding')} by --ignore" if ignored else "",
    )
    text = ", ".join(filter(None, parts))
    return f"; not shown: {text}" if text else ""


def _print(found: list[Finding], policies: int, hidden: str, output: Output) -> None:
    for finding in found:
        output(f"{finding.origin}:{finding.line}: {finding.severity} [{finding.id}] {finding.text}")
        output(f"    {finding.fix}")
    errors = sum(finding.severity is Severity.ERROR for finding in found)
    output(
        f"{counted(policies, 'policy', 'policies')}, {counted(errors, 'error')}, "
        f"{counted(len(found) - errors, 'warning')}{hidden}"
    )
