"""The logrotate file for hosts that prefer it, with the real logrotate: no line is lost."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bootstrap.record import Record

pytestmark = pytest.mark.lab  # tests/lab/setup installs logrotate

FILE = Path(__file__).parents[2] / "agent-config/logrotate/airlock"


def rotated(base: Path, *options: str) -> None:
    """Run logrotate with our file, its path replaced. It wants the file to belong to root."""
    text = FILE.read_text()
    assert "/var/log/airlock/records.jsonl" in text
    config = base / "airlock"
    config.write_text(text.replace("/var/log/airlock/", f"{base}/log/"))
    config.chmod(0o644)
    program = shutil.which("logrotate", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program, "logrotate is not installed: run tests/lab/setup"
    command = [program, "--verbose", "--state", str(base / "state"), *options, str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "error:" not in done.stderr


def test_rotation_keeps_all_lines_of_jobs_that_run(tmp_path: Path) -> None:
    log = tmp_path / "log"
    path = log / "records.jsonl"
    running = Record(path, "now")
    running.cancelled("before")
    rotated(tmp_path, "--force")
    assert not path.exists()
    running.cancelled("after")
    Record(path, "now").cancelled("next")
    old = [file for file in log.iterdir() if file != path]
    assert len(old) == 1
    assert old[0].suffix == ".jsonl"
    assert [
        line.count("before") + line.count("after") for line in old[0].read_text().splitlines()
    ] == [1, 1]
    assert "next" in path.read_text()
    assert {file.stat().st_mode & 0o777 for file in log.iterdir()} == {0o600}


def test_missing_or_empty_trail_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir(mode=0o700)
    rotated(tmp_path, "--force")
    (tmp_path / "log/records.jsonl").touch()
    rotated(tmp_path)
    assert [path.name for path in (tmp_path / "log").iterdir()] == ["records.jsonl"]
