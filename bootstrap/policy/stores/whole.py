"""A whole store at once, for the commands that ask about all pipelines."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, assert_never

from bootstrap.errors import WrongConfiguration
from bootstrap.forms import FileStore, SsmStore
from bootstrap.host.config import Host
from bootstrap.policy import cases
from bootstrap.policy.catalogue import Catalogue, Unreadable
from bootstrap.policy.parameters import Parameter, compiled
from bootstrap.policy.parse import parse, parse_guardrails
from bootstrap.policy.stores import files
from bootstrap.policy.stores.choose import guardrails_now
from bootstrap.policy.stores.ssm import Ssm

if TYPE_CHECKING:
    from bootstrap.policy.model import Guardrails, Policy

GUARDRAILS = "guardrails.yaml"
CASES = ".test.yaml"

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """A directory of documents: the policies, their cases, and the texts."""

    catalogue: Catalogue
    cases: tuple[cases.Cases, ...]
    texts: dict[str, str]  # pipeline -> the document's text
    guardrails: str | None = None  # their text


Parser = Callable[[str, str], T]


def folder(directory: Path, *, with_cases: bool = True) -> Folder:
    """Read <slug>.yaml, <slug>.test.yaml and guardrails.yaml of a directory.

    Their owner and mode do not matter: no job is admitted by these. Raises WrongConfiguration if
    the directory cannot be read; documents with mistakes are in `catalogue.unreadable`, and so is
    what hosts do not read either: links, and what is no regular file.
    """
    return _folder(directory, parse, cases.parse if with_cases else None)


def versions(*directories: Path) -> tuple[Catalogue, ...]:
    """Read the policies and guardrails of directories that have most documents in common.

    Cases are left out: they decide nothing. Raises as `folder`.
    """
    known: dict[str, Policy] = {}

    def once(text: str, origin: str) -> "Policy":
        if text not in known:
            known[text] = parse(text, origin)
        return replace(known[text], origin=origin)

    return tuple(_folder(directory, once, None).catalogue for directory in directories)


def _folder(
    directory: Path,
    of_policies: "Parser[Policy]",
    of_cases: "Parser[cases.Cases] | None",
) -> Folder:
    unreadable: list[Unreadable] = []
    policies: list[Policy] = []
    tests: list[cases.Cases] = []
    rails: list[Guardrails] = []
    texts: dict[str, str] = {}
    guardrails: str | None = None
    for path in _documents(directory, unreadable):
        if path.name == GUARDRAILS:
            for text, found in _read(path, parse_guardrails, unreadable):
                guardrails = text
                rails.append(found)
        elif path.name.endswith(CASES):
            if of_cases:
                tests += [found for _, found in _read(path, of_cases, unreadable)]
        else:
            for text, policy in _read(path, of_policies, unreadable):
                policies.append(policy)
                texts[policy.pipeline] = text
    catalogue = Catalogue(
        policies=tuple(policies),
        unreadable=tuple(unreadable),
        guardrails=rails[0] if rails else None,
    )
    return Folder(catalogue=catalogue, cases=tuple(tests), texts=texts, guardrails=guardrails)


def store(host: Host, *, ssm: Ssm | None = None) -> Catalogue:
    """Read everything that the host's store has. Raises CannotStart, WrongConfiguration."""
    match host.policy.store:
        case FileStore(path=directory):
            read = folder(directory).catalogue
        case SsmStore(path=prefix):
            ssm = ssm or Ssm(host.aws)
            read = compiled_tree(prefix, ssm.tree(prefix))
        case never:
            assert_never(never)
    return replace(read, guardrails=guardrails_now(host, ssm=ssm))


def compiled_tree(prefix: str, tree: Mapping[str, tuple[Parameter, ...]]) -> Catalogue:
    """Return the policies that the parameters below `prefix` are, by pipeline."""
    unreadable: list[Unreadable] = []
    policies: list[Policy] = []
    for slug, parameters in sorted(tree.items()):
        path = f"{prefix}/{slug}"
        try:
            policy = compiled(path, slug, parameters)
        except WrongConfiguration as wrong:
            unreadable.append(Unreadable(origin=f"ssm:{path}", details=wrong.details))
        else:
            policies += [policy] if policy else []
    return Catalogue(policies=tuple(policies), unreadable=tuple(unreadable), guardrails=None)


def listed(directory: Path) -> list[Path]:
    """Return what is in a directory of policies, sorted. Raises WrongConfiguration."""
    try:
        return sorted(directory.iterdir())
    except OSError as failed:
        raise WrongConfiguration(
            f"the policies in {directory} cannot be read: {failed.strerror}",
            hint="Name a directory of <pipeline slug>.yaml documents.",
        ) from failed


def _documents(directory: Path, unreadable: list[Unreadable]) -> list[Path]:
    paths = listed(directory)
    unreadable += [misnamed(path) for path in paths if path.suffix == ".yml"]
    return [path for path in paths if path.suffix == ".yaml"]


def misnamed(path: Path) -> Unreadable:
    """Return what is wrong with a .yml file."""
    detail = f"{path}:1: expected a name that ends in .yaml: Airlock reads no .yml files"
    hint = f"Rename it to {path.stem}.yaml."
    return Unreadable(origin=str(path), details=(detail,), hint=hint)


def _read(path: Path, parser: "Parser[T]", unreadable: list[Unreadable]) -> list[tuple[str, T]]:
    """Return the text and what it means, or nothing if it has mistakes."""
    try:
        text = files.plain_text(path)
        return [(text, parser(text, str(path)))]
    except WrongConfiguration as wrong:
        details = wrong.details or (f"{path}:1: {wrong.problem}",)
        unreadable.append(Unreadable(origin=str(path), details=details))
    return []
