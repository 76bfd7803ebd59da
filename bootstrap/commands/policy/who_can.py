"""`airlock policy who-can`: the pipelines, branches and teams that can use a grant."""

import json
from dataclasses import asdict
from pathlib import Path

from bootstrap.commands.policy.source import Output, catalogue, readable
from bootstrap.policy.catalogue import who_can as find
from bootstrap.text import counted, printable


def who_can(
    *, wanted: str, directory: Path | None, config_path: Path, as_json: bool, output: Output
) -> int:
    """Print every access to what `wanted` names. Return 1 if there is none."""
    found = find(readable(catalogue(directory, config_path), directory).policies, wanted)
    if as_json:
        output(json.dumps([asdict(access) for access in found], indent=2))
        return int(not found)
    for access in found:
        does = "first assumes role" if access.kind == "via" else f"grants {access.kind}"
        output(f"{access.pipeline}: rule {access.rule!r} {does} {access.name}")
        for condition in access.to:
            output(f"    {printable(condition)}")
    pipelines = len({access.pipeline for access in found})
    output(f"{counted(pipelines, 'pipeline')} can reach {wanted}")
    return int(not found)
