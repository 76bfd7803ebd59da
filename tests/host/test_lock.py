"""A lock excludes other processes, also while its file is removed by a collector."""

import multiprocessing
import threading
from pathlib import Path

from bootstrap.host.lock import is_unlocked, locked, locked_now, remove_unlocked


def test_locked_file_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path):
        assert not is_unlocked(path)
        assert not remove_unlocked(path)
    assert is_unlocked(path)
    assert path.exists()
    assert remove_unlocked(path)
    assert not path.exists()
    assert not remove_unlocked(path)


def test_waiter_for_a_removed_lock_takes_the_new_file(tmp_path: Path) -> None:
    """Without that, it and a later process would both hold "the" lock, on two files."""
    path, entered = tmp_path / "lock", threading.Event()
    go = threading.Event()

    def waits() -> None:
        with locked(path):
            entered.set()
            go.wait(30)

    with locked(path):
        thread = threading.Thread(target=waits)
        thread.start()
        assert not entered.wait(0.2)
        path.unlink()
    assert entered.wait(30)
    assert path.exists()
    assert not is_unlocked(path)
    go.set()
    thread.join(30)


def test_lock_that_another_process_has_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path), locked_now(path) as ours:
        assert not ours
    with locked_now(path) as ours:
        assert ours
        assert not is_unlocked(path)
    assert is_unlocked(path)


def count(path: Path, counter: Path, times: int) -> None:
    for _ in range(times):
        with locked(path):
            number = int(counter.read_text())
            counter.write_text(str(number + 1))


def test_lock_excludes_while_its_file_is_removed_all_the_time(tmp_path: Path) -> None:
    path, counter = tmp_path / "lock", tmp_path / "counter"
    counter.write_text("0")
    jobs = [multiprocessing.Process(target=count, args=(path, counter, 300)) for _ in range(4)]
    for job in jobs:
        job.start()
    removed = 0
    while any(job.is_alive() for job in jobs):
        removed += remove_unlocked(path)
    assert counter.read_text() == "1200"
    assert removed > 0
