"""`airlock policy push`: from a reviewed directory to the host's SSM store."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bootstrap.aws.ssm import STANDARD
from bootstrap.commands.policy.source import Output, require_policies, save, ssm_path
from bootstrap.errors import WrongConfiguration
from bootstrap.host import config
from bootstrap.policy.difference.model import Kind
from bootstrap.policy.difference.rails import guardrail_changes
from bootstrap.policy.findings import Severity
from bootstrap.policy.lint import lint
from bootstrap.policy.model import Guardrails
from bootstrap.policy.stores import versions
from bootstrap.policy.stores.publishing import Moved, Plan, moved, plan
from bootstrap.policy.stores.remote import Remote, remote, require_place
from bootstrap.policy.stores.ssm import Ssm
from bootstrap.policy.stores.whole import Folder, folder
from bootstrap.policy.stores.writing import Lost, publish
from bootstrap.text import counted

ADVANCED = 2 * STANDARD  # bytes
NOTHING = "nothing was written"

Confirm = Callable[[str], bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What the command line says about one push."""

    dry_run: bool
    prune: bool
    yes: bool  # prune without asking
    versions: Path | None  # None: the file that `pull` left in the directory, if there is one


def push(*, directory: Path, config_path: Path, options: Options, output: Output) -> int:
    """Write every document that differs from the store's; nothing at all if one has errors.

    Returns 1, with nothing written, if lint finds an error, if the store changed since its versions
    were recorded, or if the question about removals is not answered with yes; and if somebody else
    writes to the store at the same time, with what was written until then.

    SSM writes one parameter at a time, each whole or not at all. If a write fails, what was already
    written is printed; running the command again writes the rest.
    """
    host = config.load(config_path)
    prefix = ssm_path(host.policy.store)
    read = _checked(directory, output)
    if read is None:
        return 1
    require_place(host, read.guardrails)
    file = options.versions or directory / versions.NAME
    recorded = versions.read(file)
    if recorded is None and options.versions:
        raise WrongConfiguration(
            f"the file of versions {file} does not exist",
            hint="`airlock policy diff store DIR --save-versions FILE` writes it.",
        )
    ssm = Ssm(host.aws)
    found = remote(host, prefix, ssm)
    planned = plan(
        read.texts, read.guardrails, found, prune=options.prune,
        guardrails_last=_only_widened(found, read),
    )  # fmt: skip
    others = moved(planned, found, recorded) if recorded else ()
    if others:
        _print_moved(others, file, ssm, output)
        return 1
    _print_removals(planned, options, output)
    if options.dry_run:
        _print_writes(planned, output)
        return 0
    if planned.removals and not options.yes and not _confirmed(planned):
        output(NOTHING)
        return 1
    return _publish(
        planned, found=found, read=read, file=file if recorded else None, ssm=ssm, output=output
    )


def _checked(directory: Path, output: Output) -> Folder | None:
    read = folder(directory)
    require_policies(read.catalogue, directory)
    errors = [f for f in lint(read.catalogue) if f.severity is Severity.ERROR]
    for finding in errors:
        output(f"{finding.origin}:{finding.line}: error [{finding.id}] {finding.text}")
    texts = {**read.texts, **({"guardrails": read.guardrails} if read.guardrails else {})}
    problems = [f"{name}: {why}" for name, text in texts.items() for why in _unstorable(text)]
    for problem in problems:
        output(problem)
    if errors or problems:
        output(NOTHING)
        return None
    return read


def _unstorable(text: str) -> list[str]:
    """Return why SSM would not store the text (docs/aws.md#limits-of-ssm)."""
    found = []
    if len(text.encode()) > ADVANCED:
        found.append(f"{len(text.encode())} bytes; a parameter holds {ADVANCED}")
    if "{{" in text:
        found.append("the text contains {{, which SSM does not store")
    return found


def _only_widened(found: Remote, read: Folder) -> bool:
    """Return whether the new guardrails allow all that the old ones do.

    Such guardrails are written after the policies, all others before them: at no moment has a job
    what neither the old documents nor the new ones give it.
    """
    before, after = found.rails(), read.catalogue.guardrails
    if not isinstance(before, Guardrails) or after is None:
        return False
    changes = guardrail_changes(before, after)
    return all(change.kind is Kind.GAINS for change in changes)


def _print_moved(others: tuple[Moved, ...], file: Path, ssm: Ssm, output: Output) -> None:
    output(f"the store is not as it was when {file} was written:")
    for one in others:
        recorded = "no parameter" if one.recorded is None else f"version {one.recorded}"
        found = "no parameter" if one.found is None else f"version {one.found}{_who(one.path, ssm)}"
        output(f"{one.path}: expected {recorded}, got {found}")
    output(f"{NOTHING}: `airlock policy diff store DIR --save-versions FILE` compares again")


def _who(path: str, ssm: Ssm) -> str:
    written = ssm.written(path)
    return f", written by {written.by} at {written.at:%Y-%m-%dT%H:%M:%S%z}" if written else ""


def _print_removals(planned: Plan, options: Options, output: Output) -> None:
    if options.prune:
        for removal in planned.removals:
            output(f"would remove {removal.path}, version {removal.version}")
    elif planned.absent:
        listed = ", ".join(planned.absent[:5]) + (", …" if len(planned.absent) > 5 else "")
        number = counted(len(planned.absent), "pipeline")
        output(f"{number} of the store not in the directory: {listed} (--prune removes them)")


def _print_writes(planned: Plan, output: Output) -> None:
    for write in planned.writes:
        over = "new" if write.over is None else f"over version {write.over}"
        output(f"would write {write.path}, {len(write.text.encode())} bytes, {over}")
    output(f"{_sizes(planned)} would be changed; {NOTHING}")


def _confirmed(planned: Plan) -> bool:
    """Ask on the terminal. Raises WrongConfiguration if there is no terminal."""
    if not sys.stdin.isatty():
        raise WrongConfiguration(
            f"--prune would remove {counted(len(planned.removals), 'parameter')}, and there is no "
            f"terminal on which to ask; {NOTHING}",
            hint="Look at what --prune --dry-run prints, then pass --prune --yes.",
        )
    number = counted(len(planned.removals), "parameter")
    sys.stdout.write(
        f"Remove {number} from the store? Their pipelines' jobs will be refused. [y/N] "
    )
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _publish(
    planned: Plan, *, found: Remote, read: Folder, file: Path | None, ssm: Ssm, output: Output
) -> int:
    known = dict(found.versions().parameters)
    done = 0
    try:
        for result in publish(planned, ssm):
            if isinstance(result, Lost):
                _print_lost(result, output)
                return 1
            done += 1
            if result.version is None:
                output(f"removed {result.path}")
                known.pop(result.path, None)
            else:
                output(f"wrote {result.path}, version {result.version}")
                known[result.path] = result.version
    finally:
        if done < len(planned.writes) + len(planned.removals):
            output(f"{done} of {_sizes(planned)} were changed; push again for the rest")
        if file is not None:
            _record(file, versions.Versions(store=found.prefix, parameters=known), output)
    output(
        f"{len(planned.writes)} of {counted(_documents(read), 'document')} differed from the store"
    )
    return 0


def _record(file: Path, known: versions.Versions, output: Output) -> None:
    """Update the recorded versions; what was written to the store stays, whatever the disk does."""
    try:
        save(file, known.content())
    except WrongConfiguration as failed:
        output(f"{failed.problem}; the versions in it are those before this push")


def _print_lost(lost: Lost, output: Output) -> None:
    who = f", by {lost.written.by} at {lost.written.at:%Y-%m-%dT%H:%M:%S%z}" if lost.written else ""
    if lost.overwritten:
        output(
            f"{lost.path}: version {lost.found} was written by somebody else in the same moment, "
            "and this push replaced it; see `aws ssm get-parameter-history`"
        )
    else:
        output(f"{lost.path} was changed during this push{who}; it was left alone")


def _sizes(planned: Plan) -> str:
    return counted(len(planned.writes) + len(planned.removals), "parameter")


def _documents(read: Folder) -> int:
    return len(read.texts) + (read.guardrails is not None)
