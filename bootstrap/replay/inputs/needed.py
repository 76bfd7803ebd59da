"""Which variables a job cannot run without, and what an input that lacks some is completed with."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace

from bootstrap.errors import WrongConfiguration
from bootstrap.replay.model import MissingPiece, ReplayInput
from bootstrap.text import counted, printable

# Variables without which a job is another one, so that nobody but the person can know them.
_ASKED = {
    "BUILDKITE_REPO": ("what is checked out", "git@github.com:acme/storefront.git"),
    "BUILDKITE_COMMIT": ("what is checked out", '"$(git rev-parse HEAD)"'),
    "BUILDKITE_BRANCH": ("what is checked out", '"$(git branch --show-current)"'),
    "BUILDKITE_ORGANIZATION_SLUG": ("which organization the pipeline is of", "acme"),
    "BUILDKITE_PIPELINE_SLUG": ("which pipeline's policy decides", "storefront"),
}
# What any value does for.
_ANY = {"BUILDKITE_AGENT_NAME": "airlock-replay", "BUILDKITE_PIPELINE_PROVIDER": "git"}
# The build that the policy commands describe, too: of a branch, started in the UI.
_BUILD = {
    "BUILDKITE": "true",
    "CI": "true",
    "BUILDKITE_BUILD_NUMBER": "1",
    "BUILDKITE_MESSAGE": "airlock replay",
    "BUILDKITE_PULL_REQUEST": "false",
    "BUILDKITE_PULL_REQUEST_BASE_BRANCH": "",
    "BUILDKITE_PULL_REQUEST_REPO": "",
    "BUILDKITE_RETRY_COUNT": "0",
    "BUILDKITE_SOURCE": "ui",
    "BUILDKITE_TAG": "",
}
_SPACE = uuid.UUID("7a0c7a1e-3a52-5a9e-9d0b-5b6f0a1c9e10")


def assumed(seed: str, *, build: bool = False) -> dict[str, str]:
    """Return variables for a job that lacks them; with `build` also those that describe a build.

    The ids are the same for the same `seed`, so that a replay finds its directories again.
    """
    ids = {"BUILDKITE_JOB_ID": str(uuid.uuid5(_SPACE, f"job {seed}"))}
    if build:
        ids["BUILDKITE_BUILD_ID"] = str(uuid.uuid5(_SPACE, f"build {seed}"))
        ids["BUILDKITE_STEP_ID"] = str(uuid.uuid5(_SPACE, f"step {seed}"))
    return {**_ANY, **(_BUILD if build else {}), **ids}


def missing(env: Mapping[str, str], hidden: Iterable[str] = ()) -> tuple[MissingPiece, ...]:
    """Return what has to be asked for. `hidden` are variables whose values are not known."""
    secret = set(hidden)
    return tuple(
        MissingPiece(
            name=name,
            why=f"its value is secret, and says {why}" if name in secret else f"it says {why}",
            example=f"--env {name}={example}",
        )
        for name, (why, example) in _ASKED.items()
        if not env.get(name)
    )


def completed(
    of: ReplayInput, given: Mapping[str, str], fallback: Mapping[str, str] | None = None
) -> ReplayInput:
    """Return the input with what is given, with what may be assumed, and with what is missing.

    `fallback` is assumed, too.
    """
    env = {**of.env, **given}
    likely = {**assumed(of.source), **(fallback or {})}
    added = {name: value for name, value in likely.items() if not env.get(name)}
    env |= added
    unknown = tuple(sorted(name for name in of.unknown if name not in given))
    return replace(
        of,
        env=env,
        unknown=unknown,
        assumed=tuple(sorted({*(n for n in of.assumed if n not in given), *added})),
        missing=(
            *missing(env, unknown),
            *(p for p in of.missing if p.name not in given and p.name not in added),
        ),
    )


def require_complete(of: ReplayInput) -> None:
    """Raise WrongConfiguration that names everything that is missing, with an example of each."""
    if not of.missing:
        return
    names = ", ".join(piece.name for piece in of.missing)
    raise WrongConfiguration(
        printable(f"{of.source} does not have {names}", limit=600),
        hint=f"Give {'it' if len(of.missing) == 1 else 'them'} as shown above and run it again.",
        details=tuple(
            printable(f"{piece.name}: {piece.why}; for example {piece.example}", limit=400)
            for piece in of.missing
        ),
    )


def summary(of: ReplayInput) -> tuple[str, ...]:
    """Return one line for each thing that was not known, for whoever runs the command."""
    lines = []
    if of.unknown:
        names = printable(", ".join(of.unknown), limit=600)
        lines.append(f"not known, because {_was(len(of.unknown))} secret: {names}")
    if of.assumed:
        names = printable(", ".join(of.assumed), limit=600)
        lines.append(f"{counted(len(of.assumed), 'variable')} assumed: {names}")
    return tuple(lines)


def _was(number: int) -> str:
    return "it was" if number == 1 else "they were"
