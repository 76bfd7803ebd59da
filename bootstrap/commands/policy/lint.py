"""`airlock policy lint`: mistakes and risks in policies, before a job runs by them."""

import json
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

from bootstrap.commands.policy.source import Output, catalogue, require_policies
from bootstrap.policy.findings import Finding, Severity
from bootstrap.policy.lint import lint as find
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

    Raises WrongConfiguration if there is nothing to check.
    """
    read = catalogue(directory, config_path)
    require_policies(read, directory)
    found = [finding for finding in find(read) if finding.id not in ignore]
    if as_json:
        output(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        _print(found, len(read.policies), output)
    return int(any(finding.severity is Severity.ERROR for finding in found))


def _print(found: list[Finding], policies: int, output: Output) -> None:
    for finding in found:
        output(f"{finding.origin}:{finding.line}: {finding.severity} [{finding.id}] {finding.text}")
        output(f"    {finding.fix}")
    errors = sum(finding.severity is Severity.ERROR for finding in found)
    output(
        f"{counted(policies, 'policy', 'policies')}, {counted(errors, 'error')}, "
        f"{counted(len(found) - errors, 'warning')}"
    )
