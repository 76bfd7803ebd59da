"""`airlock policy init`: the first policy of a pipeline, with its cases."""

import json
from pathlib import Path

from bootstrap.commands.policy.source import Output, save_all
from bootstrap.errors import WrongConfiguration
from bootstrap.policy.first import first


def init(
    *,
    directory: Path,
    pipeline: str,
    repository: str,
    branch: str,
    role: str | None,
    as_json: bool,
    output: Output,
) -> int:
    """Write <pipeline>.yaml and <pipeline>.test.yaml, and change no file that exists.

    Raises WrongConfiguration for a value that no policy can have, or if one of the files exists.
    """
    made = first(pipeline, repository, branch=branch, role=role)
    documents = {
        directory / f"{pipeline}.yaml": made.policy,
        directory / f"{pipeline}.test.yaml": made.cases,
    }
    for path in documents:
        if path.exists() or path.is_symlink():
            raise WrongConfiguration(
                f"{path} exists, and nothing was written",
                hint="Change it with an editor, or remove it first.",
            )
    save_all({path: text.encode() for path, text in documents.items()})
    if as_json:
        output(json.dumps({"written": [str(path) for path in documents]}))
        return 0
    for path in documents:
        output(f"wrote {path}")
    output(f"check them with: airlock policy lint {directory} && airlock policy test {directory}")
    return 0
