"""Checks of the filesystems: space, budgets, and the audit trail."""

from bootstrap.doctor.model import Check, Stage, Verdict, fail, known, ok, warn
from bootstrap.doctor.snapshot import Snapshot

_RUNTIME = 64 << 20  # bytes: a job directory takes up to 12 MiB
_IMAGES = 2 << 30


def _size(number: int) -> str:
    return f"{number / (1 << 30):.1f} GiB" if number >= 1 << 30 else f"{number >> 20} MiB"


def _disk(snapshot: Snapshot) -> Verdict:
    found = known(snapshot.storage.state)
    if found.lacks:
        return fail(
            f"{found.path}: {found.lacks}",
            "`airlock gc` removes what is beyond the budgets, `docker system prune` what Docker "
            "keeps; or enlarge the disk, or lower storage.min-free in airlock.toml.",
        )
    return ok(f"{_size(found.free)} of {_size(found.size)} are free at {found.path}")


def _budgets(snapshot: Snapshot) -> Verdict:
    found, limits = known(snapshot.storage.state), snapshot.configured.storage
    wanted = limits.workspaces_size + limits.histories_size + limits.min_free
    if not limits.workspaces_size or wanted <= found.size:
        return ok(f"{_size(wanted)} of {_size(found.size)}")
    share = max(found.size - limits.histories_size - limits.min_free, found.size // 2)
    return warn(
        f"the budgets are {_size(wanted)}, and the disk of {found.path} has {_size(found.size)}",
        f'Set workspaces-size = "{max(1, share >> 30)}GiB" in [storage] of airlock.toml, or less.',
    )


def _images(snapshot: Snapshot) -> Verdict:
    found = known(snapshot.storage.images)
    if found.free < _IMAGES:
        return warn(
            f"{_size(found.free)} are free at {found.path}, where Docker keeps images",
            "`docker image prune --all` removes images that no container uses; or enlarge the "
            "disk.",
        )
    return ok(f"{_size(found.free)} are free at {found.path}")


def _runtime(snapshot: Snapshot) -> Verdict:
    found = known(snapshot.storage.runtime)
    if found.free < _RUNTIME:
        return fail(
            f"{_size(found.free)} are free at {found.path}",
            f"`airlock gc`; else enlarge that filesystem (`mount -o remount,size=1g`) and see what "
            f"is below {found.path}.",
        )
    return ok(f"{_size(found.free)} are free at {found.path}")


def _records(snapshot: Snapshot) -> Verdict:
    known(snapshot.storage.records)
    return ok(str(snapshot.configured.paths.records))


TITLE = "Storage"
CHECKS = (
    Check(
        name="disk", judge=_disk, since=Stage.START,
        what="The disk of paths.state has storage.min-free",
        why="Jobs that find less wait for clean-up, then end with 125.",
    ),
    Check(
        name="budgets", judge=_budgets, since=Stage.START,
        what="The budgets of [storage] fit on the disk",
        why="Otherwise the disk is full before anything is removed.",
    ),
    Check(
        name="image-disk", judge=_images, since=Stage.START,
        what="Docker's disk has 2 GiB free",
        why="A job whose image cannot be pulled ends with 125.",
    ),
    Check(
        name="runtime-space", judge=_runtime, since=Stage.START,
        what="The filesystem of paths.runtime has 64 MiB free",
        why="Each job that runs has a directory there, in memory.",
    ),
    Check(
        name="records", judge=_records, what="An event can be appended to the audit trail",
        why="A job that cannot be recorded does not start.",
    ),
)  # fmt: skip
