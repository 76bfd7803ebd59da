"""What is kept is bounded, what is in use is left alone, and giving up a tree takes no time."""

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
from bootstrap.host.trees import claimed, discard_unused
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


def kept(path: Path, age: float) -> Path:
    (path / "builds").mkdir(parents=True)
    os.utime(path, (NOW - age, NOW - age))
    return path


@contextmanager
def nobody_empties_the_trash(state: Path) -> Iterator[None]:
    """As while a huge tree is being deleted: that process holds the lock."""
    with (state / "trash.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_the_least_recently_used_beyond_the_number_go(tmp_path: Path) -> None:
    here = host(tmp_path, workspaces=3)
    for number in range(6):
        kept(tmp_path / f"state/workspaces/w{number}", age=number)
        kept(tmp_path / f"state/ancestry/a{number}", age=number)
    assert storage.collect(here, NOW) == 6
    assert names(tmp_path / "state/workspaces") == {"w0", "w1", "w2"}
    assert names(tmp_path / "state/ancestry") == {"a0", "a1", "a2"}


def test_what_was_not_used_for_long_goes(tmp_path: Path) -> None:
    here = host(tmp_path, workspace_age=100.0)
    kept(tmp_path / "state/workspaces/old", age=101)
    kept(tmp_path / "state/workspaces/young", age=99)
    assert storage.collect(here, NOW) == 1
    assert names(tmp_path / "state/workspaces") == {"young"}


def test_what_is_in_use_stays_and_counts_as_used_now(tmp_path: Path) -> None:
    here = host(tmp_path, workspaces=1, workspace_age=100.0)
    used = kept(tmp_path / "state/workspaces/used", age=1000)
    other = kept(tmp_path / "state/workspaces/other", age=50)
    with claimed(used) as ours:
        assert ours
        os.utime(used, (NOW - 1000, NOW - 1000))  # even if it were the oldest of all
        storage.collect(here, NOW)
        assert used.exists()
        with claimed(used) as second:
            assert not second
    assert used.stat().st_mtime > NOW - 10 * 365 * 86400
    assert not other.exists()  # so that the number holds


def test_whoever_waited_for_a_tree_that_was_given_up_gets_a_new_one(tmp_path: Path) -> None:
    path, got = tmp_path / "state/workspaces/w", []
    (tmp_path / "state").mkdir()

    def waits() -> None:
        with claimed(path, wait=True):
            got.append(path.exists() and not (path / "left").exists())

    with claimed(path):
        (path / "left").touch()
        thread = threading.Thread(target=waits)
        thread.start()
        trash.discard(tmp_path / "state", path)
    thread.join(20)
    assert got == [True]


def test_workspaces_of_jobs_without_a_lease_are_orphans(tmp_path: Path) -> None:
    """After a loss of power there are no leases any more, only what is on the disk."""
    here = host(tmp_path)
    for name in ("alive", "orphan"):
        (tmp_path / "state/fresh" / name).mkdir()
    (tmp_path / "runtime/jobs/alive").mkdir()
    assert storage.collect(here, NOW) == 1
    assert names(tmp_path / "state/fresh") == {"alive"}


def test_records_are_bounded_by_number_and_age(tmp_path: Path) -> None:
    here = host(tmp_path, records=3, record_age=100.0)
    for number in range(6):
        record = tmp_path / f"state/records/r{number}.json"
        record.touch()
        os.utime(record, (NOW - 60 * number, NOW - 60 * number))
    assert storage.collect(here, NOW, records=True) == 4
    assert names(tmp_path / "state/records") == {"r0.json", "r1.json"}


def test_records_are_looked_at_once_an_hour(tmp_path: Path) -> None:
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


def test_a_tree_is_given_up_before_anything_of_it_is_deleted(tmp_path: Path) -> None:
    state, tree = tmp_path / "state", tmp_path / "state/fresh/t"
    for number in range(100):
        (tree / f"d{number}").mkdir(parents=True)
    with nobody_empties_the_trash(state):
        assert trash.discard(state, tree)
        trash.empty_later(state)
        assert not tree.exists()
        (given_up,) = trash.trash(state).iterdir()
        assert len(list(given_up.iterdir())) == 100
    trash.empty_now(state)
    assert trash.is_empty(state)
    assert not trash.discard(state, tree)


def test_the_trash_is_emptied_behind_our_back_whatever_is_in_it(tmp_path: Path) -> None:
    state = tmp_path
    for name in ("-rf", "with space", "new\nline", "*"):
        (tmp_path / "fresh" / name / "d").mkdir(parents=True)
        assert trash.discard(state, tmp_path / "fresh" / name)
    deep = tmp_path / "fresh/deep"
    deep.mkdir()
    dig = "import os; [(os.mkdir('d'), os.chdir('d')) for _ in range(3000)]"
    subprocess.run(["python3", "-c", dig], cwd=deep, check=True)
    trash.discard(state, deep)
    trash.empty_later(state)
    eventually(lambda: trash.is_empty(state), "the trash is empty")


def test_what_empties_the_trash_holds_nothing_of_ours(tmp_path: Path) -> None:
    """The agent waits until nobody has its pipes open: here, until we read the end of one."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)  # noqa: FBT003 - its only spelling
    with nobody_empties_the_trash(tmp_path):
        (tmp_path / "t").mkdir()
        trash.discard(tmp_path, tmp_path / "t")
        saved = os.dup(1)
        os.dup2(writer, 1)
        try:
            trash.empty_later(tmp_path)
        finally:
            os.dup2(saved, 1)
            os.close(saved)
        os.close(writer)
        assert os.read(reader, 1) == b""
    os.close(reader)


def test_a_job_starts_only_where_enough_is_free(tmp_path: Path) -> None:
    here = host(tmp_path, min_free=1 << 62, min_free_inodes=0)
    unused = kept(tmp_path / "state/workspaces/unused", age=10)
    used = kept(tmp_path / "state/workspaces/used", age=20)
    notes: list[str] = []
    with (
        claimed(used),
        pytest.raises(CannotStart, match="too full to start a job") as full,
    ):
        storage.require(here, note=notes.append)
    assert "storage.min-free" in full.value.hint
    assert used.exists()
    assert not unused.exists()
    assert "removing what no job uses" in notes[0]


def test_enough_is_enough(tmp_path: Path) -> None:
    unused = kept(tmp_path / "state/workspaces/unused", age=10)
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
def test_what_is_short(found: storage.Space, lack: str) -> None:
    """A filesystem such as btrfs has no number of inodes: it reports 0 of 0."""
    assert found.lacks(200 << 20, 10) == lack


def test_nobodys_tree_is_nothing_to_give_up(tmp_path: Path) -> None:
    assert not discard_unused(tmp_path, tmp_path / "absent")
