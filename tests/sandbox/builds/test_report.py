"""What the end of a job's log says about the limits of its BuildKit."""

import pytest

from bootstrap.sandbox.builds import report
from bootstrap.sandbox.builds.ending import Ended
from bootstrap.sandbox.limits import Used
from tests.sandbox.builds.test_plan import spec


def test_an_early_end_is_named_with_its_status() -> None:
    assert report.early(Ended(early=True, code=2), "boom").endswith("the last of its log: boom")
    assert "before the job did, with exit status 2 (see" in report.early(Ended(code=2), "")
    assert "before the job did (see" in report.early(Ended(), "")


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        (Ended(), []),
        (Ended(early=True, code=1), []),
        (Ended(early=True, code=137, used=Used(killed=1)),
         ["the kernel killed the BuildKit of this job at its limit of memory, 1GiB"]),
        (Ended(used=Used(killed=1)),
         ["reached its limit of memory, 1GiB, and the kernel killed a process"]),
        (Ended(used=Used(refused_forks=9)), ["reached its limit of 99 processes and threads"]),
        (Ended(used=Used(full=("/tmp", "/run"))),
         ["the directory /tmp of this job's BuildKit was full", "the directory /run"]),
    ],
)  # fmt: skip
def test_each_limit_is_one_sentence_that_names_its_setting(
    ended: Ended, expected: list[str]
) -> None:
    found = list(report.sentences(spec(), ended))
    assert len(found) == len(expected)
    for sentence, part in zip(found, expected, strict=True):
        assert part in sentence
        assert "in airlock.toml" in sentence
