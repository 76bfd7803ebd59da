"""Budgets bound what stays on the disk, trees in use stay, and discarding a tree takes no time."""

import fcntl
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bootstrap.errors import CannotStart
from bootstrap.host import storage, trash
from bootstrap.host.config import Host, Paths, Sandbox, Storage
from bootstrap.host.trees import discard_unused, locked_tree
from tests.lab.engine import eventually

NOW = 1_800_000_000.0
NO_FLOOR = {"floor": 0, "floor_inodes": 0}


def host(base: Path, **settings: float) -> Host:
    for name in ("state/workspaces", "state/records", "state/fresh", "runtime/jobs"):
        (base / name).mkdir(parents=True, exist_ok=True)
    return Host(
        sandbox=Sandbox(image="job:1"),
        paths=Paths(runtime=base / "runtime", state=base / "state"),
        storage=Storage().model_copy(update={**NO_FLOOR, **settings}),
    )


def tree(path: Path, age: float) -> Path:
    (path / "builds").mkdir(parents=True)
    os.utime(path, (NOW - age, NOW - age))
    return path


@contextmanager
def trash_locked(state: Path) -> Iterator[None]:
    """Hold the lock, as a process does while it deletes a huge tree."""
    with (state / "trash.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_collect_beyond_number_removes_least_recently_used(tmp_path: Path) -> None:
    here = host(tmp_path, workspaces=3)
    for number in range(6):
        tree(tmp_path / f"state/workspaces/w{number}", age=number)
        tree(tmp_path / f"state/ancestry/a{number}", age=number)
    assert storage.collect(here, NOW) == 6
    assert names(tmp_path / "state/workspaces") == {"w0", "w1", "w2"}
    assert names(tmp_path / "state/ancestry") == {"a0", "a1", "a2"}


def test_collect_removes_workspaces_unused_for_too_long(tmp_path: Path) -> None:
    here = host(tmp_path, workspace_age=100.0)
    tree(tmp_path / "state/workspaces/old", age=101)
    tree(tmp_path / "state/workspaces/young", age=99)
    assert storage.collect(here, NOW) == 1
    assert names(tmp_path / "state/workspaces") == {"young"}


def test_tree_in_use_is_not_collected_and_counts_as_used_now(tmp_path: Path) -> None:
    here = host(tmp_path, workspaces=1, workspace_age=100.0)
    used = tree(tmp_path / "state/workspaces/used", age=1000)
    other = tree(tmp_path / "state/workspaces/other", age=50)
    with locked_tree(used) as first:
        assert first
        os.utime(used, (NOW - 1000, NOW - 1000))  # even if it were the oldest of all
        storage.collect(here, NOW)
        assert used.exists()
        with locked_tree(used) as second:
            assert not second
    assert used.stat().st_mtime > NOW - 10 * 365 * 86400
    assert not other.exists()  # because only one may stay


def test_waiting_for_a_discarded_tree_yields_a_new_one(tmp_path: Path) -> None:
    path, got = tmp_path / "state/workspaces/w", []
    (tmp_path / "state").mkdir()

    def waits() -> None:
        with locked_tree(path, wait=True):
            got.append(path.exists() and not (path / "left").exists())

    with locked_tree(path):
        (path / "left").touch()
        thread = threading.Thread(target=waits)
        thread.start()
        trash.discard(tmp_path / "state", path)
    thread.join(20)
    assert got == [True]


def test_collect_removes_fresh_workspaces_without_lease(tmp_path: Path) -> None:
    """After a reboot the leases are gone, and the workspaces are still on the disk."""
    here = host(tmp_path)
    for name in ("alive", "orphan"):
        (tmp_path / "state/fresh" / name).mkdir()
    (tmp_path / "runtime/jobs/alive").mkdir()
    assert storage.collect(here, NOW) == 1
    assert names(tmp_path / "state/fresh") == {"alive"}


def test_collect_removes_records_beyond_number_and_age(tmp_path: Path) -> None:
    here = host(tmp_path, records=3, record_age=100.0)
    for number in range(6):
        record = tmp_path / f"state/records/r{number}.json"
        record.touch()
        os.utime(record, (NOW - 60 * number, NOW - 60 * number))
    assert storage.collect(here, NOW, records=True) == 4
    assert names(tmp_path / "state/records") == {"r0.json", "r1.json"}


def test_records_are_collected_once_an_hour(tmp_path: Path) -> None:
    here = host(tmp_path, records=1)

    def left(now: float) -> int:
        for number in range(3):
            (tmp_path / f"state/records/r{number}.json").touch()
        storage.collect(here, now)
        return len(names(tmp_path / "state/records"))

    assert left(NOW) == 1
    stamp = (tmp_path / "runtime/records-collected").stat().st_mtime
    assert left(stamp + 60) == 3
    assert left(stamp + 3601) == 1


def test_discarded_tree_is_renamed_before_it_is_deleted(tmp_path: Path) -> None:
    state, tree = tmp_path / "state", tmp_path / "state/fresh/t"
    for number in range(100):
        (tree / f"d{number}").mkdir(parents=True)
    with trash_locked(state):
        assert trash.discard(state, tree)
        trash.empty_in_background(state)
        assert not tree.exists()
        (discarded,) = trash.trash(state).iterdir()
        assert len(list(discarded.iterdir())) == 100
    trash.empty_now(state)
    assert trash.is_empty(state)
    assert not trash.discard(state, tree)


def test_trash_of_any_content_is_emptied_in_background(tmp_path: Path) -> None:
    state = tmp_path
    for name in ("-rf", "with space", "new\nline", "*"):
        (tmp_path / "fresh" / name / "d").mkdir(parents=True)
        assert trash.discard(state, tmp_path / "fresh" / name)
    deep = tmp_path / "fresh/deep"
    deep.mkdir()
    dig = "import os; [(os.mkdir('d'), os.chdir('d')) for _ in range(3000)]"
    subprocess.run(["python3", "-c", dig], cwd=deep, check=True)
    trash.discard(state, deep)
    trash.empty_in_background(state)
    eventually(lambda: trash.is_empty(state), "the trash is empty")


def test_background_deletion_inherits_no_descriptor(tmp_path: Path) -> None:
    """The agent waits until no process has its pipes open: here, until end-of-file on one."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)  # noqa: FBT003 - its only spelling
    with trash_locked(tmp_path):
        (tmp_path / "t").mkdir()
        trash.discard(tmp_path, tmp_path / "t")
        saved = os.dup(1)
        os.dup2(writer, 1)
        try:
            trash.empty_in_background(tmp_path)
        finally:
            os.dup2(saved, 1)
            os.close(saved)
        os.close(writer)
        assert os.read(reader, 1) == b""
    os.close(reader)


def test_require_with_too_little_space_discards_unused_trees_then_fails(tmp_path: Path) -> None:
    here = host(tmp_path, min_free=1 << 62, min_free_inodes=0)
    unused = tree(tmp_path / "state/workspaces/unused", age=10)
    used = tree(tmp_path / "state/workspaces/used", age=20)
    notes: list[str] = []
    with (
        locked_tree(used),
        pytest.raises(
            CannotStart, match=r"too full to start a job.*no unused workspace or cache is left"
        ) as full,
    ):
        storage.require(here, note=notes.append)
    assert "storage.min-free" in full.value.hint
    assert used.exists()
    assert not unused.exists()
    assert "removing workspaces and caches that no job uses" in notes[0]


def test_require_with_enough_space_discards_nothing(tmp_path: Path) -> None:
    unused = tree(tmp_path / "state/workspaces/unused", age=10)
    storage.require(host(tmp_path, min_free=1, min_free_inodes=1), note=pytest.fail)
    assert unused.exists()


@pytest.mark.parametrize(
    ("found", "lack"),
    [
        (storage.Space(bytes=100 << 20, inodes=None), "100 MiB are free, expected 200 MiB or more"),
        (storage.Space(bytes=300 << 20, inodes=5), "5 inodes are free, expected 10 or more"),
        (storage.Space(bytes=300 << 20, inodes=None), ""),
        (storage.Space(bytes=200 << 20, inodes=10), ""),
    ],
)
def test_shortage_is_described_with_got_and_expected(found: storage.Space, lack: str) -> None:
    """A filesystem such as btrfs has no number of inodes: it reports 0 of 0."""
    assert found.lacks(200 << 20, 10) == lack


def test_discard_of_missing_tree_does_nothing(tmp_path: Path) -> None:
    assert not discard_unused(tmp_path, tmp_path / "absent")
