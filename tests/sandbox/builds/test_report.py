"""What the end of a job's log says about the limits of its BuildKit."""

import pytest

from bootstrap.sandbox.builds import report
from bootstrap.sandbox.limits import Used
from tests.sandbox.builds.test_plan import spec


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        (Used(), []),
        (Used(killed=1), ["reached its limit of memory, 1GiB, and the kernel killed a process"]),
        (Used(refused_forks=9), ["reached its limit of 99 processes and threads"]),
        (Used(full=("/tmp", "/run")),
         ["the directory /tmp of this job's BuildKit was full", "the directory /run"]),
    ],
)  # fmt: skip
def test_each_limit_is_one_sentence_that_names_its_setting(used: Used, expected: list[str]) -> None:
    found = list(report.sentences(spec(), used))
    assert len(found) == len(expected)
    for sentence, part in zip(found, expected, strict=True):
        assert part in sentence
        assert "in airlock.toml" in sentence
