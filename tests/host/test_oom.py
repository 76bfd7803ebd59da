"""The protection of the agent's unit from the OOM killer ends where jobs begin."""

import subprocess
import sys
from pathlib import Path

import pytest

from bootstrap.host import oom
from tests.lab import unit


@pytest.mark.parametrize(("before", "after"), [("-1000", "0"), ("-1", "0"), ("0", "0"), ("7", "7")])
def test_protection_is_given_up_and_anything_else_stays(
    tmp_path: Path, before: str, after: str
) -> None:
    score = tmp_path / "oom_score_adj"
    score.write_text(before)
    oom.be_ordinary(score)
    assert score.read_text() == after


@pytest.mark.skipif(not unit.can_protect(), reason="needs CAP_SYS_RESOURCE")
def test_process_and_its_children_have_the_score() -> None:
    program = (
        "import subprocess; from bootstrap.host import oom; oom.be_ordinary(); "
        "subprocess.run(['cat', '/proc/self/oom_score_adj'], check=True)"
    )
    done = subprocess.run(
        ["choom", "-n", "-1000", "--", sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "0"
