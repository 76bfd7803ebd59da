"""`airlock policy who-can`: which pipelines, branches and teams reach a role, secret or image."""

import json
from dataclasses import asdict
from pathlib import Path

from bootstrap.commands.policy.source import Say, catalogue
from bootstrap.policy.catalogue import who_can as find


def who_can(
    *, wanted: str, directory: Path | None, config_path: Path, as_json: bool, say: Say
) -> int:
    """Print every access to what `wanted` names; 1 if nobody has one."""
    found = find(catalogue(directory, config_path).policies, wanted)
    if as_json:
        say(json.dumps([asdict(access) for access in found], indent=2))
        return int(not found)
    for access in found:
        say(f"{access.pipeline}: rule {access.rule!r} gives {access.kind} {access.name}")
        for condition in access.to:
            say(f"    {condition}")
    say(f"{len({access.pipeline for access in found})} pipelines reach {wanted}")
    return int(not found)
