"""The caches of repositories' histories: found again, and used by one check at a time."""

import os
import threading
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from bootstrap.host.trees import is_used
from bootstrap.job.assemble import claims_of
from bootstrap.job.model import Claims
from bootstrap.sandbox.commit_check import history
from tests.job.given import job_env, process_env
from tests.lab.engine import eventually

UID = os.geteuid()


def claims(**env: str) -> Claims:
    return claims_of(job_env(**env), process_env())


def locked(state: Path, of: Claims) -> AbstractContextManager[Path]:
    return history.locked_cache(state, history.path_of(state, of), uid=UID, note=pytest.fail)


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


def test_cache_in_use_is_not_shared(tmp_path: Path) -> None:
    of = claims(BUILDKITE_PIPELINE_SLUG="p")
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with locked(tmp_path, of):
            entered.set()
            leave.wait(30)

    with locked(tmp_path, of) as path:
        assert is_used(path.parent)
        waiting = threading.Thread(target=other)
        waiting.start()
        assert not entered.wait(0.2)
    eventually(entered.is_set, "the other process has it")
    leave.set()
    waiting.join()
