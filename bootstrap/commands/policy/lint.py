"""`airlock policy lint`: what is wrong with policies, before a job finds out."""

import json
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

from bootstrap.commands.policy.source import Say, catalogue
from bootstrap.policy.lint import Finding, Severity
from bootstrap.policy.lint import lint as find


def lint(
    *,
    directory: Path | None,
    config_path: Path,
    ignore: Collection[str],
    as_json: bool,
    say: Say,
) -> int:
    """Print every finding; 1 if one of them is an error."""
    read = catalogue(directory, config_path)
    found = [finding for finding in find(read) if finding.id not in ignore]
    if as_json:
        say(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        _print(found, len(read.policies), say)
    return int(any(finding.severity is Severity.ERROR for finding in found))


def _print(found: list[Finding], policies: int, say: Say) -> None:
    for finding in found:
        say(f"{finding.origin}:{finding.line}: {finding.severity} [{finding.id}] {finding.text}")
        say(f"    {finding.fix}")
    errors = sum(finding.severity is Severity.ERROR for finding in found)
    say(f"{policies} policies, {errors} errors, {len(found) - errors} warnings")
