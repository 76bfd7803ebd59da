"""What a push changes in the store, decided before anything is written."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bootstrap.errors import WrongConfiguration
from bootstrap.policy.parameters import DOCUMENT
from bootstrap.policy.stores.remote import OURS, Remote
from bootstrap.policy.stores.versions import Versions


@dataclass(frozen=True, kw_only=True, slots=True)
class Write:
    """One parameter to write. `over` is the version that it replaces, None for a new one."""

    path: str
    text: str
    over: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Removal:
    """One parameter to remove, and the version that it has."""

    path: str
    version: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Moved:
    """A parameter whose version is not the recorded one. None: it does not exist."""

    path: str
    recorded: int | None
    found: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The writes and removals of one push, in their order, and what they leave alone."""

    writes: tuple[Write, ...]
    removals: tuple[Removal, ...]
    absent: tuple[str, ...]  # pipelines of the store that are not in the directory


def plan(
    texts: Mapping[str, str],
    guardrails: str | None,
    found: Remote,
    *,
    prune: bool,
    guardrails_last: bool,
) -> Plan:
    """Return what has to change so that the store has these documents.

    Guardrails are never removed: hosts that are configured to read them would refuse every job.
    Raises WrongConfiguration if a pipeline has separate parameters beside its document.
    """
    _only_documents(texts, found)
    ours = found.ours()
    writes = [
        Write(path=path, text=text, over=ours[path].version if path in ours else None)
        for path, text in ((f"{found.prefix}/{s}/{DOCUMENT}", t) for s, t in texts.items())
        if path not in ours or ours[path].value != text
    ]
    rails = list(_guardrails(guardrails, found))
    ordered = [*writes, *rails] if guardrails_last else [*rails, *writes]
    absent = [slug for slug in sorted(_pipelines(found)) if slug not in texts]
    removals = [
        Removal(path=path, version=parameter.version)
        for path, parameter in ours.items()
        if prune and path.removeprefix(f"{found.prefix}/").partition("/")[0] in absent
    ]
    return Plan(writes=tuple(ordered), removals=tuple(removals), absent=tuple(absent))


def moved(planned: Plan, found: Remote, recorded: Versions) -> tuple[Moved, ...]:
    """Return what somebody changed after the versions were recorded and this push would touch.

    The guardrails count always: whoever reviewed the policies did so under the recorded ones.
    Raises WrongConfiguration for the versions of another store.
    """
    if recorded.store != found.prefix:
        raise WrongConfiguration(
            f"the recorded versions are those of {recorded.store}, and policy.store in "
            f"airlock.toml is {found.prefix}",
            hint="Name the configuration with which they were recorded by --config.",
        )
    now = found.versions().parameters
    touched = [write.path for write in planned.writes]
    touched += [removal.path for removal in planned.removals]
    if found.guardrails_path:
        touched.append(found.guardrails_path)
    return tuple(
        Moved(path=path, recorded=recorded.parameters.get(path), found=now.get(path))
        for path in dict.fromkeys(touched)
        if recorded.parameters.get(path) != now.get(path)
    )


def _guardrails(text: str | None, found: Remote) -> Iterator[Write]:
    known = found.guardrails
    if text is not None and found.guardrails_path and (known is None or known.value != text):
        yield Write(path=found.guardrails_path, text=text, over=known.version if known else None)


def _pipelines(found: Remote) -> set[str]:
    return {slug for slug, parameters in found.tree.items() if {p.name for p in parameters} & OURS}


def _only_documents(texts: Mapping[str, str], found: Remote) -> None:
    """Refuse to mix layouts: every job of a pipeline that has both would be refused."""
    names = {slug: {p.name for p in parameters} & OURS for slug, parameters in found.tree.items()}
    both = [slug for slug in texts if names.get(slug, set()) - {DOCUMENT}]
    if both:
        raise WrongConfiguration(
            f"the store already has separate parameters for {', '.join(both)}; a pipeline has "
            "either those or one document",
            hint="Delete a pipeline's separate parameters before pushing its document.",
        )
