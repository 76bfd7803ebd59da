"""A whole store at once, for the commands that ask about all pipelines."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, assert_never

from bootstrap.errors import WrongConfiguration
from bootstrap.forms import FileStore, SsmStore
from bootstrap.host.config import Host
from bootstrap.policy import cases
from bootstrap.policy.catalogue import Catalogue, Unreadable
from bootstrap.policy.parameters import compiled
from bootstrap.policy.parse import parse, parse_guardrails
from bootstrap.policy.stores.choose import guardrails_now
from bootstrap.policy.stores.ssm import Ssm

if TYPE_CHECKING:
    from bootstrap.policy.model import Guardrails, Policy

GUARDRAILS = "guardrails.yaml"
CASES = ".test.yaml"

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """A directory of documents: the policies, their cases, and the policies' texts."""

    catalogue: Catalogue
    cases: tuple[cases.Cases, ...]
    texts: dict[str, str]  # pipeline -> the document's text


def folder(directory: Path) -> Folder:
    """Read <slug>.yaml, <slug>.test.yaml and guardrails.yaml of a directory.

    Their owner and mode do not matter: no job is admitted by these. Raises WrongConfiguration if
    the directory cannot be read; documents with mistakes are in `catalogue.unreadable`.
    """
    unreadable: list[Unreadable] = []
    policies: list[Policy] = []
    tests: list[cases.Cases] = []
    rails: list[Guardrails] = []
    texts: dict[str, str] = {}
    for path in _documents(directory, unreadable):
        if path.name == GUARDRAILS:
            rails += _read(path, parse_guardrails, unreadable)
        elif path.name.endswith(CASES):
            tests += _read(path, cases.parse, unreadable)
        elif found := _read(path, parse, unreadable):
            policies += found
            texts[found[0].pipeline] = path.read_text()
    catalogue = Catalogue(
        policies=tuple(policies),
        unreadable=tuple(unreadable),
        guardrails=rails[0] if rails else None,
    )
    return Folder(catalogue=catalogue, cases=tuple(tests), texts=texts)


def store(host: Host, *, ssm: Ssm | None = None) -> Catalogue:
    """Read everything that the host's store has. Raises CannotStart, WrongConfiguration."""
    match host.policy.store:
        case FileStore(path=directory):
            read = folder(directory).catalogue
        case SsmStore(path=prefix):
            read = _tree(prefix, ssm or Ssm(host.aws))
        case never:
            assert_never(never)
    return replace(read, guardrails=guardrails_now(host, ssm=ssm))


def _tree(prefix: str, ssm: Ssm) -> Catalogue:
    unreadable: list[Unreadable] = []
    policies: list[Policy] = []
    for slug, parameters in sorted(ssm.tree(prefix).items()):
        path = f"{prefix}/{slug}"
        try:
            policy = compiled(path, slug, parameters)
        except WrongConfiguration as wrong:
            unreadable.append(Unreadable(origin=f"ssm:{path}", details=wrong.details))
        else:
            policies += [policy] if policy else []
    return Catalogue(policies=tuple(policies), unreadable=tuple(unreadable), guardrails=None)


def _documents(directory: Path, unreadable: list[Unreadable]) -> list[Path]:
    try:
        paths = sorted(directory.iterdir())
    except OSError as failed:
        raise WrongConfiguration(
            f"the policies in {directory} cannot be read: {failed.strerror}",
            hint="Name a directory of <pipeline slug>.yaml documents.",
        ) from failed
    for path in paths:
        if path.suffix == ".yml":
            detail = f"{path}:1: expected a name that ends in .yaml: Airlock reads no .yml files"
            unreadable.append(Unreadable(origin=str(path), details=(detail,)))
    return [path for path in paths if path.suffix == ".yaml"]


def _read(path: Path, parser: Callable[[str, str], T], unreadable: list[Unreadable]) -> list[T]:
    try:
        return [parser(path.read_text(encoding="utf-8"), str(path))]
    except WrongConfiguration as wrong:
        unreadable.append(Unreadable(origin=str(path), details=wrong.details))
    except (OSError, UnicodeDecodeError) as broken:
        unreadable.append(Unreadable(origin=str(path), details=(f"{path}:1: {broken}",)))
    return []
