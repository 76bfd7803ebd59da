"""`airlock policy who-can`: the pipelines, branches and teams that can use a grant."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from bootstrap.commands.policy.source import Output, catalogue, readable
from bootstrap.policy.catalogue import ANY, AUDIENCE, VIA, Access, close_names
from bootstrap.policy.catalogue import who_can as find
from bootstrap.text import counted, printable


def who_can(
    *, wanted: str, directory: Path | None, config_path: Path, as_json: bool, output: Output
) -> int:
    """Print every access to what `wanted` names. Return 1 if no job has one.

    Accesses that the guardrails refuse are printed with the reason, and not counted.
    """
    read = readable(catalogue(directory, config_path), directory)
    found = find(read.policies, wanted, read.guardrails)
    pipelines = {access.pipeline for access in found if not access.refused}
    if as_json:
        output(json.dumps([asdict(access) for access in found], indent=2))
        return int(not pipelines)
    for access in found:
        output(f"{access.pipeline}: rule {access.rule!r} {_does(access)}")
        for line in _conditions(access):
            output(f"    {printable(line, limit=500)}")
    refused = {access.pipeline for access in found if access.refused} - pipelines
    also = f"; the guardrails refuse {counted(len(refused), 'more', 'more')}" if refused else ""
    output(f"{counted(len(pipelines), 'pipeline')} can reach {wanted}{also}")
    close = () if found else close_names(read.policies, wanted)
    if close:
        meant = " or ".join(f'"{name}"' for name in close)
        output(
            f"No rule names it: whole names are compared, and * is any text; did you mean {meant}?"
        )
    return int(not pipelines)


def _does(access: Access) -> str:
    if access.kind == VIA:
        return f"first assumes role {access.name}"
    if (access.kind, access.name) == (AUDIENCE, ANY):
        return "has no agent-api: its jobs can get a token for any OIDC audience"
    return f"grants {access.kind} {access.name}"


def _conditions(access: Access) -> Iterator[str]:
    """Yield what a job has to fulfil, and what the guardrails say."""
    yield from access.to
    for required in access.required:
        yield f"guardrail {required}"
    if access.pull_requests == "same-repository" and "pull-request any" in access.to:
        yield "guardrail forks: no pull request of a fork gets it"
    for reason in access.refused:
        yield f"REFUSED by guardrail {reason}"
