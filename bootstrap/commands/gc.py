"""`airlock gc`: remove what dead jobs left on this host, and what is beyond the budgets."""

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from bootstrap.alerts import named, traced
from bootstrap.errors import AirlockError, CannotStart
from bootstrap.host import config, runtime_files, storage, trail, trash
from bootstrap.host.change import Change
from bootstrap.host.config import Host
from bootstrap.log import Write
from bootstrap.metrics import catalogue, report
from bootstrap.sandbox.ahead import making
from bootstrap.sandbox.images import pulled_images
from bootstrap.sandbox.leases import remains
from bootstrap.sandbox.workspace import prepare_host
from bootstrap.text import counted, printable

FAILED = CannotStart.exit_code
SUCCEEDED = "collected"  # in paths.runtime: changed last when nothing failed
_LINE = 1000  # characters


def gc(*, config_path: Path, dry_run: bool, write: Write) -> int:
    """Remove everything that no job needs; print a line for each thing, and why it goes.

    With `dry_run` nothing is changed. Otherwise the disk space is free when this returns. A part
    that fails does not keep the others from being done; the status is then FAILED.
    """
    host = config.load(config_path)
    config.require_root("Run it with sudo; its systemd unit runs it as root.")
    now = time.time()
    if not dry_run:
        _prepare(host)
    parts: dict[str, Callable[[], Iterable[Change]]] = {
        "dead jobs": partial(remains.dead_jobs, host),
        "containers without a job": partial(remains.containers, host),
        "prepared networks": partial(making.remains, host),
        "fresh workspaces": partial(storage.orphans, host),
        "workspaces and histories": partial(storage.trees_beyond, host, now, measured=True),
        "records": partial(storage.records_beyond, host, now),
        "the audit trail": partial(trail.changes, host, now),
        "runtime files": partial(runtime_files.changes, host, now),
        "images": partial(pulled_images.unused, host, now),
        "discarded trees": partial(_discarded, host.paths.state),
    }
    line = _lines(write)
    report.to(host.paths.runtime)
    outcomes = []
    for name, part in parts.items():
        for outcome in _part(name, part, dry_run=dry_run, line=line):
            outcomes.append(outcome)
            metric = catalogue.GC_REMOVALS if outcome else catalogue.GC_FAILURES
            if not dry_run:
                report.report(metric, kind=name)
    done, failed = outcomes.count(True), outcomes.count(False)
    line(f"{counted(done, 'change')} {'would be made' if dry_run else 'made'}")
    if failed:
        line(f"{counted(failed, 'failure')}: see above; the next `airlock gc` tries again")
    elif not dry_run:
        (host.paths.runtime / SUCCEEDED).touch()
    return FAILED if failed else 0


def _prepare(host: Host) -> None:
    """Create the directories. Raises CannotStart."""
    try:
        prepare_host(host.paths.runtime, host.paths.state)
    except OSError as failed:
        raise CannotStart(
            f"Airlock's directories could not be created: {failed}",
            hint="Check paths.runtime and paths.state in airlock.toml, and whether their disk is "
            "full or mounted read-only. Nothing was done.",
        ) from failed


def _part(
    name: str, part: Callable[[], Iterable[Change]], *, dry_run: bool, line: Callable[[str], object]
) -> Iterator[bool]:
    """Carry out one part; yield whether each change succeeded, False also if the part cannot go on.

    Nothing is yielded for what is gone or in use by now.
    """
    try:
        for change in part():
            if dry_run:
                line(f"would {change.verb} {change}")
                yield True
                continue
            try:
                applied = change.apply()
            except Exception as failed:  # noqa: BLE001 - the others have their turn
                _report(f"could not {change.verb} {change.what}", failed, line)
                yield False
                continue
            if applied is not False:
                line(f"{change.verb.removesuffix('e')}ed {change}")
                yield True
    except Exception as failed:  # noqa: BLE001 - a bug in one part must not stop the others
        _report(f"could not look for {name}", failed, line)
        yield False


def _report(what: str, failed: Exception, line: Callable[[str], object]) -> None:
    line(f"{what}: {named(failed)}")
    match failed:
        case AirlockError():
            line(f"  what to do: {failed.hint}")
        case OSError():
            return
        case _:
            line("  what to do: this is a bug in Airlock, please report it with these lines:")
            for text in traced(failed, masked=str):  # gc knows no secret
                line(f"  {text}")


def _discarded(state: Path) -> Iterator[Change]:
    """Yield the deletion of all trees that are discarded by now, after a process that is at it."""
    if trees := trash.discarded(state):
        what = f"{counted(len(trees), 'discarded tree')} below {state}"
        why = "no job can see them any more"
        yield Change(verb="delete", what=what, why=why, apply=partial(trash.empty_now, state))


def _lines(write: Write) -> Callable[[str], object]:
    """Names come from jobs: each line is printed as one, without control characters."""
    return lambda text: write(f"{printable(text, limit=_LINE)}\n".encode("utf-8", "replace"))
