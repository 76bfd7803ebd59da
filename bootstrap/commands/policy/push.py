"""`airlock policy push`: from a reviewed directory to the host's SSM store."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
_NO_TERMINAL = "there is no terminal on which to ask"


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What the command line says about one push."""

    dry_run: bool
    prune: bool
    yes: bool  # prune without asking
    versions: Path | None  # None: the file that `pull` left in the directory, if there is one
    as_json: bool = False


@dataclass(kw_only=True, slots=True)
class _Result:
    """What a push found and did: lines while it runs, or one document at its end."""

    options: Options
    output: Output
    problems: list[str] = field(default_factory=list)
    planned: Plan = field(default_factory=lambda: Plan(writes=(), removals=(), absent=()))
    written: list[dict[str, Any]] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        """Print a line for people."""
        if not self.options.as_json:
            self.output(line)

    def problem(self, line: str) -> None:
        """Print why nothing, or nothing more, is written to the store or the file of versions."""
        self.problems.append(line)
        self.say(line)

    def end(self) -> None:
        """Print the document."""
        if self.options.as_json:
            self.output(json.dumps(self._document(), indent=2))

    def _document(self) -> dict[str, Any]:
        done = {*(one["path"] for one in self.written), *self.removed}
        writes, removals = self.planned.writes, self.planned.removals
        return {
            "written": self.written,
            "removed": self.removed,
            "to-write": [
                {"path": one.path, "bytes": len(one.text.encode()), "over": one.over}
                for one in writes if one.path not in done
            ],
            "to-remove": [
                {"path": one.path, "version": one.version}
                for one in removals if one.path not in done
            ],
            "not-in-directory": list(self.planned.absent),
            "problems": self.problems,
        }  # fmt: skip


def push(*, directory: Path, config_path: Path, options: Options, output: Output) -> int:
    """Write every document that differs from the store's; nothing at all if one has errors.

    Returns 1, with nothing written, if lint finds an error, if the store changed since its versions
    were recorded, or if the question about removals is not answered with yes; and if somebody else
    writes to the store at the same time, with what was written until then.

    SSM writes one parameter at a time, each whole or not at all. If a write fails, what was already
    written is printed; running the command again writes the rest.
    """
    result = _Result(options=options, output=output)
    try:
        status = _push(directory, config_path, result)
    except BaseException:
        if result.written or result.removed:
            result.end()
        raise
    result.end()
    return status


def _push(directory: Path, config_path: Path, result: _Result) -> int:
    options = result.options
    host = config.load(config_path)
    prefix = ssm_path(host.policy.store)
    read = _checked(directory, result)
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
    planned = result.planned = plan(
        read.texts, read.guardrails, found, prune=options.prune,
        guardrails_last=_only_widened(found, read),
    )  # fmt: skip
    others = moved(planned, found, recorded) if recorded else ()
    if others:
        _print_moved(others, file, ssm, result)
        return 1
    _print_removals(planned, options, result.say)
    if options.dry_run:
        _print_writes(planned, result.say)
        return 0
    if planned.removals and not options.yes and not _confirmed(planned, options):
        result.say(NOTHING)
        return 1
    return _publish(result, found=found, read=read, file=file if recorded else None, ssm=ssm)


def _checked(directory: Path, result: _Result) -> Folder | None:
    read = folder(directory)
    require_policies(read.catalogue, directory)
    errors = [f for f in lint(read.catalogue) if f.severity is Severity.ERROR]
    for finding in errors:
        result.problem(f"{finding.origin}:{finding.line}: error [{finding.id}] {finding.text}")
    texts = {**read.texts, **({"guardrails": read.guardrails} if read.guardrails else {})}
    problems = [f"{name}: {why}" for name, text in texts.items() for why in _unstorable(text)]
    for problem in problems:
        result.problem(problem)
    if errors or problems:
        result.say(NOTHING)
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


def _print_moved(others: tuple[Moved, ...], file: Path, ssm: Ssm, result: _Result) -> None:
    result.problem(f"the store is not as it was when {file} was written")
    for one in others:
        recorded = "no parameter" if one.recorded is None else f"version {one.recorded}"
        found = "no parameter" if one.found is None else f"version {one.found}{_who(one.path, ssm)}"
        result.problem(f"{one.path}: expected {recorded}, got {found}")
    result.problem(
        f"{NOTHING}: `airlock policy diff store DIR --save-versions FILE` compares again"
    )


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


def _confirmed(planned: Plan, options: Options) -> bool:
    """Ask on the terminal. Raises WrongConfiguration if there is none, or a program reads."""
    if options.as_json or not sys.stdin.isatty():
        why = "--format json asks nothing" if options.as_json else _NO_TERMINAL
        raise WrongConfiguration(
            f"--prune would remove {counted(len(planned.removals), 'parameter')}, and {why}; "
            f"{NOTHING}",
            hint="Look at what --prune --dry-run prints, then pass --prune --yes.",
        )
    number = counted(len(planned.removals), "parameter")
    sys.stdout.write(
        f"Remove {number} from the store? Their pipelines' jobs will be refused. [y/N] "
    )
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _publish(result: _Result, *, found: Remote, read: Folder, file: Path | None, ssm: Ssm) -> int:
    planned, known = result.planned, dict(found.versions().parameters)
    done = 0
    try:
        for one in publish(planned, ssm):
            if isinstance(one, Lost):
                result.problem(_lost(one))
                return 1
            done += 1
            if one.version is None:
                result.say(f"removed {one.path}")
                result.removed.append(one.path)
                known.pop(one.path, None)
            else:
                result.say(f"wrote {one.path}, version {one.version}")
                result.written.append({"path": one.path, "version": one.version})
                known[one.path] = one.version
    finally:
        if done < len(planned.writes) + len(planned.removals):
            result.say(f"{done} of {_sizes(planned)} were changed; push again for the rest")
        if file is not None:
            _record(file, versions.Versions(store=found.prefix, parameters=known), result)
    result.say(
        f"{len(planned.writes)} of {counted(_documents(read), 'document')} differed from the store"
    )
    return 0


def _record(file: Path, known: versions.Versions, result: _Result) -> None:
    """Update the recorded versions; what was written to the store stays, whatever the disk does."""
    try:
        save(file, known.content())
    except WrongConfiguration as failed:
        result.problem(f"{failed.problem}; the versions in it are those before this push")


def _lost(lost: Lost) -> str:
    if lost.overwritten:
        return (
            f"{lost.path}: version {lost.found} was written by somebody else in the same moment, "
            "and this push replaced it; see `aws ssm get-parameter-history`"
        )
    who = f", by {lost.written.by} at {lost.written.at:%Y-%m-%dT%H:%M:%S%z}" if lost.written else ""
    return f"{lost.path} was changed during this push{who}; it was left alone"


def _sizes(planned: Plan) -> str:
    return counted(len(planned.writes) + len(planned.removals), "parameter")


def _documents(read: Folder) -> int:
    return len(read.texts) + (read.guardrails is not None)
