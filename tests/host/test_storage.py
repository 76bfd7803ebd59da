"""Budgets bound what stays on the disk, trees in use stay, and discarding a tree takes no time."""

import os
import subprocess
import threading
from pathlib import Path

import pytest

from bootstrap.errors import CannotStart
from bootstrap.host import storage, trash
from bootstrap.host.config import Host, Paths, Sandbox, Storage
from bootstrap.host.trees import discard_unused, locked_tree

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


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_collect_beyond_number_removes_least_recently_used(tmp_path: Path) -> None:
    here = host(tmp_path, workspaces=3, histories=2)
    for number in range(6):
        tree(tmp_path / f"state/workspaces/w{number}", age=number)
        tree(tmp_path / f"state/ancestry/a{number}", age=number)
    storage.collect(here, NOW)
    assert names(tmp_path / "state/workspaces") == {"w0", "w1", "w2"}
    assert names(tmp_path / "state/ancestry") == {"a0", "a1"}


def test_collect_removes_workspaces_unused_for_too_long(tmp_path: Path) -> None:
    here = host(tmp_path, workspace_age=100.0)
    tree(tmp_path / "state/workspaces/old", age=101)
    tree(tmp_path / "state/workspaces/young", age=99)
    storage.collect(here, NOW)
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


def test_fresh_workspace_in_use_stays_without_a_lease(tmp_path: Path) -> None:
    """Where paths.runtime was changed: its job, which still runs, has its lease elsewhere."""
    here = host(tmp_path)
    used = tmp_path / "state/fresh/used"
    with locked_tree(used):
        storage.collect(here, NOW)
        assert used.exists()
    storage.collect(here, NOW)
    assert not used.exists()


def test_collect_removes_fresh_workspaces_without_lease(tmp_path: Path) -> None:
    """After a reboot the leases are gone, and the workspaces are still on the disk."""
    here = host(tmp_path)
    for name in ("alive", "orphan"):
        (tmp_path / "state/fresh" / name).mkdir()
    (tmp_path / "runtime/jobs/alive").mkdir()
    storage.collect(here, NOW)
    assert names(tmp_path / "state/fresh") == {"alive"}


def test_collect_removes_records_beyond_number_and_age(tmp_path: Path) -> None:
    here = host(tmp_path, records=3, record_age=100.0)
    for number in range(6):
        record = tmp_path / f"state/records/r{number}.json"
        record.touch()
        os.utime(record, (NOW - 60 * number, NOW - 60 * number))
    storage.collect(here, NOW)
    assert names(tmp_path / "state/records") == {"r0.json", "r1.json"}


def test_records_beyond_their_bytes_are_removed_oldest_first(tmp_path: Path) -> None:
    here = host(tmp_path, records_size=250)
    for number in range(6):
        record = tmp_path / f"state/records/r{number}.json"
        record.write_bytes(b"x" * 100)
        os.utime(record, (NOW - 60 * number, NOW - 60 * number))
    storage.collect(here, NOW)
    assert names(tmp_path / "state/records") == {"r0.json", "r1.json"}


def test_records_of_one_user_do_not_displace_those_of_another(tmp_path: Path) -> None:
    here = host(tmp_path, records=6)
    for number in range(20):
        for uid in (2000, 2001) if number > 16 else (2001,):
            record = tmp_path / f"state/records/r{number}.{uid}.json"
            record.touch()
            os.utime(record, (NOW - 60 * number, NOW - 60 * number))
    storage.collect(here, NOW)
    kept = names(tmp_path / "state/records")
    assert {name for name in kept if ".2000." in name} == {
        f"r{number}.2000.json" for number in (17, 18, 19)
    }
    assert len(kept) == 6


def test_trees_beyond_their_bytes_are_removed_only_if_measured(tmp_path: Path) -> None:
    here = host(tmp_path, workspaces_size=5 << 20)
    for number in range(4):
        path = tree(tmp_path / f"state/workspaces/w{number}", age=number)
        (path / "builds/large").write_bytes(b"x" * (2 << 20))
        os.utime(path, (NOW - number, NOW - number))
    assert list(storage.trees_beyond(here, NOW)) == []
    with locked_tree(tmp_path / "state/workspaces/w3"):  # counts, and stays
        os.utime(tmp_path / "state/workspaces/w3", (NOW - 3, NOW - 3))
        changes = list(storage.trees_beyond(here, NOW, measured=True))
        assert [Path(change.what.split()[1]).name for change in changes] == ["w2", "w1"]
        assert "2.0 MiB" in str(changes[0])
        assert "beyond the budget of 5.0 MiB for all workspaces" in str(changes[0])
        assert [change.apply() for change in changes] == [True, True]
    assert names(tmp_path / "state/workspaces") == {"w0", "w3"}


def test_history_above_a_quarter_of_the_budget_does_not_displace_the_others(tmp_path: Path) -> None:
    here = host(tmp_path, histories_size=4 << 20)
    for name, mebibytes, age in (("small", 1, 50), ("huge", 5, 10)):
        path = tree(tmp_path / "state/ancestry" / name, age=age)
        (path / "builds/pack").write_bytes(b"x" * (mebibytes << 20) * 3 if name == "huge" else b"x")
        os.utime(path, (NOW - age, NOW - age))
    for change in storage.trees_beyond(here, NOW, measured=True):
        change.apply()
    assert names(tmp_path / "state/ancestry") == {"small"}


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


def test_workspace_that_a_collector_looks_at_for_a_moment_is_not_refused(tmp_path: Path) -> None:
    path, locked, leave = tmp_path / "state/workspaces/w", threading.Event(), threading.Event()

    def looks() -> None:
        with locked_tree(path):
            locked.set()
            leave.wait(30)

    thread = threading.Thread(target=looks)
    thread.start()
    assert locked.wait(30)
    timer = threading.Timer(0.2, leave.set)
    timer.start()
    with locked_tree(path) as got:
        assert got
    thread.join(30)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
def test_tree_that_cannot_be_removed_keeps_neither_jobs_nor_others_from_their_turn(
    tmp_path: Path,
) -> None:
    here = host(tmp_path, workspace_age=100.0)
    stuck = tree(tmp_path / "state/workspaces/stuck", age=300)
    other = tree(tmp_path / "state/workspaces/other", age=200)
    subprocess.run(["mount", "--bind", str(stuck), str(stuck)], check=True)
    try:
        storage.collect(here, NOW)
        assert not other.exists()
        assert stuck.exists()
    finally:
        subprocess.run(["umount", str(stuck)], check=True)
