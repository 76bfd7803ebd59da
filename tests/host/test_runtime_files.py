"""Names that jobs invent leave a bounded number of files in `paths.runtime`."""

import os
from pathlib import Path

from bootstrap.host import runtime_files
from bootstrap.host.config import Host, Paths, Sandbox
from bootstrap.host.lock import locked

DAY = 86400.0


def host(base: Path) -> Host:
    return Host(
        sandbox=Sandbox(image="job:1"),
        paths=Paths(runtime=base / "runtime", state=base / "state"),
    )


def collected(base: Path, now: float) -> int:
    return sum(change.apply() is not False for change in runtime_files.changes(host(base), now))


def touched(path: Path, at: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (at, at))
    return path


def invent_pipelines(directory: Path, number: int) -> None:
    """Leave what the cache of answers leaves for each: the answer, and its lock."""
    directory.mkdir(parents=True)
    for pipeline in range(number):
        (directory / f"{pipeline:032x}").write_text("{}")
        (directory / f"{pipeline:032x}.lock").touch()


def test_answers_for_invented_pipelines_are_bounded_in_number(tmp_path: Path) -> None:
    directory = tmp_path / "runtime/policies"
    now = tmp_path.stat().st_mtime
    invent_pipelines(directory, runtime_files.CACHED)
    assert len(list(directory.iterdir())) > runtime_files.CACHED
    assert collected(tmp_path, now) > 0
    assert len(list(directory.iterdir())) == runtime_files.CACHED


def test_answers_and_locks_that_are_too_old_are_removed_unless_locked(tmp_path: Path) -> None:
    directory = tmp_path / "runtime/policies"
    now = tmp_path.stat().st_mtime
    invent_pipelines(directory, 3)
    lock = next(directory.glob("*.lock"))
    with locked(lock):
        assert collected(tmp_path, now + runtime_files.IDLE) == 0
        collected(tmp_path, now + DAY)
        assert list(directory.iterdir()) == [lock]
    collected(tmp_path, now + DAY)
    assert list(directory.iterdir()) == []


def test_listings_slots_and_partial_files_that_nothing_uses_are_removed(tmp_path: Path) -> None:
    now = tmp_path.stat().st_mtime
    runtime, old = tmp_path / "runtime", now - 2 * DAY
    gone = [
        touched(runtime / "ruleset-0123456789abcdef", old),
        touched(runtime / "slots/1999", old),
        touched(runtime / "policies/.abc.123.new", old),
        touched(tmp_path / "state/images/.abc.123.new", old),
    ]
    kept = [
        touched(runtime / "ruleset-fedcba9876543210", now),
        touched(runtime / "slots/61000", old),
        touched(runtime / "policies/.def.124.new", now),
        touched(runtime / "firewall.lock", old),
    ]
    collected(tmp_path, now)
    assert [path.exists() for path in gone] == [False] * 4
    assert [path.exists() for path in kept] == [True] * 4


def test_host_without_any_file_has_nothing_to_collect(tmp_path: Path) -> None:
    assert collected(tmp_path, 0.0) == 0
