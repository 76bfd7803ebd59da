"""Holders without an engine: who gets one, and which can be used."""

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap.host.config import Sandbox
from bootstrap.sandbox.ahead import holder, making
from bootstrap.sandbox.model import Holder
from bootstrap.sandbox.network import addresses

SANDBOX = Sandbox(image="job:1")
HOLDER = Holder(
    container="c", pid=os.getpid(), namespace=addresses.namespace(os.getpid()),
    address="198.18.240.2", gateway="198.18.240.1", runtime="runc", image="sha256:abc",
)  # fmt: skip


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Path]:
    with making.locked(tmp_path) as mine:
        assert mine
        yield tmp_path


def job(runtime: Path, name: str) -> Path:
    made = runtime / "jobs" / name
    made.mkdir(parents=True)
    return made


def is_ready(runtime: Path, token: str) -> Path:
    made = holder.ready(runtime) / token
    made.mkdir()
    return made


def test_none_is_adopted_where_none_is_ready(tmp_path: Path, runtime: Path) -> None:
    assert holder.adopt(runtime, job(runtime, "one"), SANDBOX) is None
    assert holder.adopt(tmp_path / "without-a-service", job(runtime, "two"), SANDBOX) is None


def test_each_is_adopted_by_one_job_however_many_try(runtime: Path) -> None:
    tokens = [f"t{number}" for number in range(40)]
    for token in tokens:
        is_ready(runtime, token)
    jobs = [job(runtime, f"j{number}") for number in range(8)]

    def adopt_all(of: Path) -> None:
        while holder.entries(holder.ready(runtime)):
            holder.adopt(runtime, of, SANDBOX)

    threads = [threading.Thread(target=adopt_all, args=(one,)) for one in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    adopted = [token for one in jobs for token, _ in holder.adopted_by(one)]
    assert sorted(adopted) == sorted(tokens)


def test_written_holder_is_read_again(runtime: Path) -> None:
    path = is_ready(runtime, "t")
    assert holder.read(path) is None
    holder.write(path, HOLDER)
    assert holder.read(path) == HOLDER
    (path / "holder").write_text('{"pid": 1}')
    assert holder.read(path) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"runtime": "crun"}, {"address": "10.0.0.2"}, {"address": "?"}, {"namespace": 1},
        {"pid": 2**22 + 1}, {},
    ],
    ids=str,
)  # fmt: skip
def test_holder_that_is_no_port_of_the_bridge_is_adopted_and_not_used(
    runtime: Path, changed: dict[str, object]
) -> None:
    """The last case is right in all but that: this process is on no bridge."""
    path = is_ready(runtime, "t")
    holder.write(path, HOLDER)
    found = replace(HOLDER, **changed)  # type: ignore[arg-type]
    assert not holder.is_usable(path, found, SANDBOX)
    assert holder.adopt(runtime, one := job(runtime, "one"), SANDBOX) is None
    assert [token for token, _ in holder.adopted_by(one)] == ["t"]


def test_only_one_process_makes_and_removes_them(runtime: Path) -> None:
    with making.locked(runtime) as mine:
        assert not mine


def test_killing_what_a_job_has_adopted_does_nothing_without_a_record(runtime: Path) -> None:
    is_ready(runtime, "t")
    holder.adopt(runtime, one := job(runtime, "one"), SANDBOX)
    holder.kill_adopted(one, 0.1)
    assert [path.name for path in one.iterdir()] == ["network-t"]
