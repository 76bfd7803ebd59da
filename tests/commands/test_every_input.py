"""No verb ends with a traceback or as a bug, whatever its files contain."""

import subprocess
import sys

import pytest

from tests.commands.every_input import OTHERS
from tests.test_cli import ROOT, verbs


@pytest.mark.parametrize("verb", [*verbs(), *OTHERS])
def test_no_input_is_a_surprise_to_a_verb(verb: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.commands.every_input", verb],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Traceback" not in done.stdout + done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("SURPRISE")] == []
