"""A whole directory of documents, each read and checked as a host does before a job."""

from dataclasses import dataclass, field
from pathlib import Path

from bootstrap.errors import AirlockError, WrongConfiguration
from bootstrap.policy.cases import Cases, parse
from bootstrap.policy.catalogue import Catalogue, Unreadable
from bootstrap.policy.model import Guardrails, Policy
from bootstrap.policy.parse import parse_guardrails
from bootstrap.policy.stores import files
from bootstrap.policy.stores.choose import Now
from bootstrap.policy.stores.whole import CASES, GUARDRAILS, listed, misnamed


@dataclass(frozen=True, kw_only=True, slots=True)
class Directory:
    """What is in a directory. `others` are directories in it that have documents, too."""

    catalogue: Catalogue
    cases: tuple[Cases, ...]
    others: tuple[Path, ...]


@dataclass(kw_only=True, slots=True)
class _Reading:
    now: Now
    policies: list[Policy] = field(default_factory=list)
    cases: list[Cases] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)


def read(directory: Path, now: Now) -> Directory:
    """Read all documents of a directory, which is the store that `now` reads.

    Raises WrongConfiguration if it cannot be listed. A document that a host would refuse is in
    `catalogue.unreadable`, whatever the reason, and guardrails among them.
    """
    reading = _Reading(now=now)
    for path in listed(directory):
        _sort(path, reading)
    guardrails = _guardrails(reading)
    return Directory(
        catalogue=Catalogue(
            policies=tuple(reading.policies),
            unreadable=tuple(reading.unreadable),
            guardrails=guardrails,
        ),
        cases=tuple(reading.cases),
        others=tuple(reading.others),
    )


def _sort(path: Path, reading: _Reading) -> None:
    if path.is_dir() and not path.is_symlink() and path.suffix != ".yaml":
        reading.others += [path] if _has_documents(path) else []
    elif path.suffix == ".yml":
        reading.unreadable.append(misnamed(path))
    elif path.name.endswith(CASES):
        _cases(path, reading)
    elif path.suffix == ".yaml" and path.name != GUARDRAILS:
        _policy(path, reading)


def _has_documents(directory: Path) -> bool:
    """Say whether policies may have been put there; not those of a version control's directory."""
    if directory.name.startswith("."):
        return False
    try:
        return any(path.suffix in {".yaml", ".yml"} for path in directory.iterdir())
    except OSError:
        return False


def _cases(path: Path, reading: _Reading) -> None:
    try:
        reading.cases.append(parse(path.read_text(encoding="utf-8"), str(path)))
    except WrongConfiguration as wrong:
        reading.unreadable.append(Unreadable(origin=str(path), details=wrong.details))
    except (OSError, UnicodeDecodeError) as broken:
        why = broken.strerror if isinstance(broken, OSError) else "is not UTF-8"
        reading.unreadable.append(
            Unreadable(origin=str(path), details=(f"{path}:1: cannot be read: {why}",))
        )


def _policy(path: Path, reading: _Reading) -> None:
    try:
        found = reading.now.policy(path.name.removesuffix(".yaml"))
    except AirlockError as refused:
        reading.unreadable.append(_misplaced(path) or _refused(str(path), refused))
    else:
        reading.policies += [found] if found else []


def _misplaced(path: Path) -> Unreadable | None:
    """Return what is wrong with guardrails in a file of another name, None for other mistakes."""
    try:
        text = files.text_of(path) or ""
        parse_guardrails(text, str(path))
    except WrongConfiguration:
        return None
    detail = f"{path}:1: these are guardrails, which are read from {GUARDRAILS} in this directory"
    return Unreadable(origin=str(path), details=(detail,))


def _guardrails(reading: _Reading) -> Guardrails | None:
    try:
        return reading.now.guardrails()
    except WrongConfiguration as refused:
        reading.unreadable.append(_refused(reading.now.place_of_guardrails, refused))
        return None


def _refused(origin: str, refused: AirlockError) -> Unreadable:
    if refused.details:
        return Unreadable(origin=origin, details=refused.details)
    detail = f"{origin}:1: {refused.problem}"
    return Unreadable(origin=origin, details=(detail,), hint=refused.hint)
