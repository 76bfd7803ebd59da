"""`airlock policy pull`: the host's SSM store as a directory that can be reviewed."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from bootstrap.commands.policy.source import Output, save_all, ssm_path
from bootstrap.errors import WrongConfiguration
from bootstrap.host import config
from bootstrap.policy.parameters import DOCUMENT, as_document
from bootstrap.policy.stores import versions
from bootstrap.policy.stores.remote import OURS, Remote, remote
from bootstrap.policy.stores.ssm import Ssm
from bootstrap.policy.stores.whole import CASES, GUARDRAILS
from bootstrap.text import counted, printable

_SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


def pull(
    *,
    directory: Path,
    config_path: Path,
    dry_run: bool,
    output: Output,
    as_json: bool = False,
) -> int:
    """Write a document for every pipeline, the guardrails, and the versions of all parameters.

    Leaf parameters become the document they mean. Documents with mistakes are written too: this is
    where they can be corrected. Raises WrongConfiguration, before anything is written, if the
    directory is not empty or a pipeline's name is not one of Buildkite's.
    """
    host = config.load(config_path)
    prefix = ssm_path(host.policy.store)
    _require_empty(directory)
    found = remote(host, prefix, Ssm(host.aws))
    documents = _documents(found)
    contents = {name: text.encode() for name, text in documents.items()}
    if not dry_run:
        named = {**contents, versions.NAME: found.versions().content()}
        save_all({directory / name: content for name, content in named.items()})
    if as_json:
        output(_document(directory, contents, dry_run, found))
    elif dry_run:
        for name, content in contents.items():
            output(f"would write {directory / name}, {len(content)} bytes")
    else:
        _print(directory, documents, found, output)
    return 0


def _document(
    directory: Path, names: Iterable[str], dry_run: bool, found: Remote  # noqa: FBT001
) -> str:  # fmt: skip
    paths = [str(directory / name) for name in names]
    broken = len(found.catalogue().unreadable)
    written, planned = ([], paths) if dry_run else (paths, [])
    return json.dumps({"written": written, "to-write": planned, "with-mistakes": broken}, indent=2)


def _print(directory: Path, documents: Mapping[str, str], found: Remote, output: Output) -> None:
    rails = " and the guardrails" if GUARDRAILS in documents else ""
    number = len(documents) - bool(rails)
    output(f"wrote {counted(number, 'policy', 'policies')}{rails} to {directory}")
    broken = found.catalogue().unreadable
    if broken:
        output(f"{counted(len(broken), 'document')} with mistakes: see `airlock policy lint`")


def _require_empty(directory: Path) -> None:
    try:
        entries = list(directory.iterdir())
    except FileNotFoundError:
        return
    except OSError as failed:
        raise WrongConfiguration(
            f"{directory} cannot be used: {failed.strerror}",
            hint="Name an empty directory, or one that does not exist.",
        ) from failed
    if entries:
        raise WrongConfiguration(
            f"{directory} is not empty", hint="Name an empty directory, or one that does not exist."
        )


def _documents(found: Remote) -> dict[str, str]:
    """Return the text of every file, by its name."""
    texts: dict[str, str] = {}
    wrong: list[str] = []
    for slug, parameters in sorted(found.tree.items()):
        values = {one.name: one.value for one in parameters if one.name in OURS}
        if not values:
            continue
        name = f"{slug}.yaml"
        if not _SLUG.fullmatch(slug) or name == GUARDRAILS or name.endswith(CASES):
            wrong.append(f"ssm:{found.prefix}/{printable(slug)}")
        document = as_document(slug, values)
        texts[name] = values.get(DOCUMENT) or yaml.safe_dump(document, sort_keys=False)
    if wrong:
        raise WrongConfiguration(
            f"{counted(len(wrong), 'parameter path')} cannot be a file of a policy",
            hint="Buildkite has no such pipeline, or its file would be taken for guardrails or "
            "test cases. Delete these parameters.",
            details=tuple(wrong),
        )
    if found.guardrails:
        texts[GUARDRAILS] = found.guardrails.value
    return texts
