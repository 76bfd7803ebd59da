"""The caches of repositories' histories: found again, bounded, collected unless in use."""

import os
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from bootstrap.job.assemble import claims_of
from bootstrap.job.model import Claims
from bootstrap.sandbox import history
from tests.job.given import job_env, process_env
from tests.lab.engine import eventually

DAY = 86400.0
NOW = time.time()
UID = os.geteuid()


def claims(**env: str) -> Claims:
    return claims_of(job_env(**env), process_env())


def locked(state: Path, of: Claims) -> AbstractContextManager[Path]:
    return history.locked_cache(state, history.path_of(state, of), uid=UID, note=pytest.fail)


def used(state: Path, pipeline: str, *, ago: float, size: int = 10) -> str:
    with locked(state, claims(BUILDKITE_PIPELINE_SLUG=pipeline)) as path:
        (path / "pack").write_bytes(b"x" * size)
    os.utime(path.parent, (NOW - ago, NOW - ago))
    return path.parent.name


def test_url_with_token_or_other_spelling_has_the_same_cache(tmp_path: Path) -> None:
    spellings = ("https://github.com/acme/storefront.git", "git@github.com:acme/storefront",
                 "https://ci:s3cret@github.com/acme/storefront")  # fmt: skip
    found = set()
    for spelling in spellings:
        with locked(tmp_path, claims(BUILDKITE_REPO=spelling)) as path:
            found.add(path)
    assert len(found) == 1


@pytest.mark.parametrize("other", ["BUILDKITE_PIPELINE_SLUG", "BUILDKITE_ORGANIZATION_SLUG"])
def test_cache_of_another_pipeline_is_separate(tmp_path: Path, other: str) -> None:
    with (
        locked(tmp_path, claims()) as one,
        locked(tmp_path, claims(**{other: "else"})) as two,
    ):
        assert one != two


def test_collect_removes_idle_caches_only(tmp_path: Path) -> None:
    new = used(tmp_path, "new", ago=29 * DAY)
    old = used(tmp_path, "old", ago=31 * DAY)
    assert history.collect(tmp_path, NOW) == (old,)
    assert [path.name for path in (tmp_path / "ancestry").iterdir()] == [new]


def test_collect_beyond_total_removes_the_oldest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [used(tmp_path, f"p{age}", ago=age * DAY, size=1 << 20) for age in range(4)]
    monkeypatch.setattr(history, "TOTAL", 3 << 20)
    assert set(history.collect(tmp_path, NOW)) == set(names[2:])


def test_cache_above_largest_size_is_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used(tmp_path, "p", ago=0, size=2 << 20)
    monkeypatch.setattr(history, "LARGEST", 1 << 20)
    with locked(tmp_path, claims(BUILDKITE_PIPELINE_SLUG="p")) as path:
        assert list(path.iterdir()) == []


def test_cache_in_use_is_neither_collected_nor_shared(tmp_path: Path) -> None:
    used(tmp_path, "p", ago=31 * DAY)
    of = claims(BUILDKITE_PIPELINE_SLUG="p")
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with locked(tmp_path, of):
            entered.set()
            leave.wait(30)

    with locked(tmp_path, of) as path:
        os.utime(path.parent, (NOW - 31 * DAY, NOW - 31 * DAY))
        assert history.collect(tmp_path, NOW) == ()
        waiting = threading.Thread(target=other)
        waiting.start()
        assert not entered.wait(0.2)
    eventually(entered.is_set, "the other process has it")
    leave.set()
    waiting.join()
