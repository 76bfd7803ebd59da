"""`airlock policy import`: proposed policies, from what a fleet uses today."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bootstrap.commands.policy.source import Output, save
from bootstrap.errors import WrongConfiguration
from bootstrap.policy import import_leaves, import_steps, import_trust
from bootstrap.policy.parse import parse
from bootstrap.policy.proposals import Found, document, is_file_name, merged
from bootstrap.text import counted, printable

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """The files to read, and what they do not hold."""

    parameters: Path | None = None
    prefix: str = "/buildkite/pipelines"
    steps: Sequence[Path] = ()
    pipeline: str | None = None
    repository: str | None = None
    trust: Sequence[Path] = ()

    @property
    def names(self) -> str:
        """The files in words."""
        files = (*((self.parameters,) if self.parameters else ()), *self.steps, *self.trust)
        return ", ".join(map(str, files))


def import_(*, directory: Path, sources: Sources, as_json: bool, output: Output) -> int:
    """Write <pipeline>.yaml for every pipeline that the sources name, unless it exists.

    Raises WrongConfiguration if a source cannot be read or nothing is found in any of them.
    """
    read = tuple(_found(sources))
    proposals = merged((one for found in read for one in found.proposals), sources.repository)
    skipped = [reason for found in read for reason in found.skipped]
    if not proposals and not skipped:
        raise WrongConfiguration(
            f"nothing was found in {sources.names or 'no file'}",
            hint="Name one with --ssm, --steps or --trust; `airlock policy import --help` says "
            "what each of them reads.",
        )
    written: dict[str, tuple[str, ...]] = {}
    for proposal in proposals:
        path = directory / f"{proposal.pipeline}.yaml"
        if not is_file_name(proposal.pipeline):
            skipped.append(f"{printable(proposal.pipeline)}: no policy's file can have this name")
        elif path.exists() or path.is_symlink():
            skipped.append(f"{path} exists and was not changed")
        else:
            text = document(proposal, sources.names)
            save(path, text.encode(), parents=True)
            written[str(path)] = _mistakes(text, str(path))
    _print(written, skipped, as_json=as_json, output=output)
    return 0


def _found(sources: Sources) -> Iterator[Found]:
    if sources.parameters:
        yield _read(sources.parameters, lambda text: import_leaves.found(text, sources.prefix))
    if sources.steps and not sources.pipeline:
        raise WrongConfiguration(
            "--steps does not say which pipeline these steps are of",
            hint="Add --pipeline with its slug.",
        )
    slug = sources.pipeline or ""
    for path in sources.steps:
        proposal = _read(path, lambda text: import_steps.found(text, slug))
        reason = f"{path}: no step of it assumes a role"
        yield Found(proposals=(proposal,)) if proposal.rules else Found(skipped=(reason,))
    for path in sources.trust:
        yield _read(path, import_trust.found)


def _read(path: Path, parser: Callable[[str], T]) -> T:
    try:
        return parser(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as unusable:
        why = unusable.strerror if isinstance(unusable, OSError) else str(unusable)
        raise WrongConfiguration(
            f"{path} cannot be imported: {why}",
            hint="`airlock policy import --help` says what each option reads.",
        ) from unusable


def _mistakes(text: str, origin: str) -> tuple[str, ...]:
    """Return what a person has to complete."""
    try:
        parse(text, origin)
    except WrongConfiguration as wrong:
        return wrong.details
    return ()


def _print(
    written: dict[str, tuple[str, ...]], skipped: list[str], *, as_json: bool, output: Output
) -> None:
    if as_json:
        listed = [{"path": path, "to_complete": list(of)} for path, of in written.items()]
        output(json.dumps({"written": listed, "skipped": skipped}))
        return
    for path, mistakes in written.items():
        output(f"wrote {path}{': complete it' if mistakes else ''}")
        for mistake in mistakes:
            output(f"    {mistake}")
    for reason in skipped:
        output(f"skipped {reason}")
    output(f"{counted(len(written), 'policy', 'policies')} proposed, {len(skipped)} skipped")
