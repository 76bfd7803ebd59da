"""How the lab starts agents of both generations, and what it reports when one does not start."""

import re
from pathlib import Path

import pytest

from tests.fakes.control_plane import ControlPlane
from tests.fakes.control_plane.log import unstamped
from tests.lab.agent import known_flags, running_agent, spelled
from tests.test_docs import ROOT, tracked

V3 = frozenset({"--no-color", "--no-ansi-timestamps", "--cancel-grace-period"})
V4 = frozenset({"--no-color", "--cancel-signal-timeout"})
FLAGS = ("--no-color", "--no-ansi-timestamps", "--cancel-grace-period", "6", "--no-such-flag")


def test_flags_are_spelled_as_the_agent_knows_them() -> None:
    assert spelled(FLAGS, V3) == list(FLAGS)
    assert spelled(FLAGS, V4) == ["--no-color", "--cancel-signal-timeout", "5s", "--no-such-flag"]


HELP = """#!/bin/sh
echo "   --no-color                  Don't show colors, like --plain (default: false)"
echo "  --name string                The name"
"""


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_flags_are_those_that_the_program_lists(tmp_path: Path) -> None:
    assert known_flags(program(tmp_path / "agent", HELP)) == {"--no-color", "--name"}


@pytest.mark.parametrize(
    ("then", "why"),
    [
        ("echo flag provided but not defined; exit 1", "it ended with 1"),
        ("echo flag provided but not defined; exec sleep 60", "not within 1 s: it registers"),
    ],
)
def test_agent_that_does_not_register_fails_at_once_with_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str, why: str
) -> None:
    text = f'#!/bin/sh\n[ "$2" != --help ] || exit 0\n{then}\n'
    monkeypatch.setenv("BUILDKITE_AGENT", str(program(tmp_path / "agent", text)))
    with (
        ControlPlane() as control,
        pytest.raises(RuntimeError, match=f"agent-1 cannot run jobs: {why}") as raised,
        running_agent(
            tmp_path / "base", name="agent-1", control=control, bootstrap_script="true", seconds=1
        ),
    ):
        pass
    assert "flag provided but not defined" in str(raised.value)


def test_only_timestamps_are_taken_out_of_a_log() -> None:
    log = b"\x1b_bk;t=1718000000123\x07one\n\x1b_bk;t=1\x07two \x1b_bk;t=2\x07slow \x1b[31mred"
    assert unstamped(log) == b"one\ntwo slow \x1b[31mred"


TABLE = "docs/agent-contract.md#agent-3-and-agent-4"


def test_what_depends_on_the_generation_names_the_table_and_the_table_names_it() -> None:
    page = (ROOT / "docs/agent-contract.md").read_text()
    section = page.partition("\n## Agent 3 and agent 4\n")[2].partition("\n## ")[0]
    rows = "".join(line for line in section.splitlines() if line.startswith("| "))
    listed = set(re.findall(r"`((?:bootstrap|tests)/[\w/]+\.py)`", rows))
    python = [path for path in tracked() if path.suffix == ".py" and path != Path(__file__)]
    citing = {str(path.relative_to(ROOT)) for path in python if TABLE in path.read_text()}
    assert listed == citing
