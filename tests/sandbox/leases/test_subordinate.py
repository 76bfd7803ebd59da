"""No user of this host may give a job's uid to its own processes."""

from pathlib import Path

import pytest

from bootstrap.errors import WrongConfiguration
from bootstrap.sandbox.leases.subordinate import refuse_overlap

JOBS = range(60_999, 61_064)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "subuid"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "buildkite-agent:2000:1\nbuildkite-agent:100000:65536\n",  # the Elastic CI Stack
        "ada:60000:999\nada:61064:1000\n",  # right below and above
        "ada:60999:0\n",
        "# ada:60999:64\nada:60999\nada:x:64\nada:60999:64:1\n",
    ],
)
def test_other_ranges_and_lines_that_mean_nothing_are_ignored(file: Path, text: str) -> None:
    file.write_text(text)
    refuse_overlap(JOBS, [file, file.with_name("absent")])
    assert file.read_text() == text


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("dockremap:60000:1000\n", 60_999),
        ("ada:200000:65536\nada:61063:1\n", 61_063),
        ("ada:0:4294967295\n", 60_999),
    ],
)
def test_range_with_a_uid_of_jobs_is_a_configuration_error(
    file: Path, text: str, first: int
) -> None:
    file.write_text(text)
    with pytest.raises(WrongConfiguration, match=f"from {first} on are reserved for jobs") as wrong:
        refuse_overlap(JOBS, [file.with_name("absent"), file])
    assert "sandbox.first-uid" in wrong.value.hint
