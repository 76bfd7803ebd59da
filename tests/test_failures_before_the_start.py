"""Failures before a job begins: each with its own status, and nothing hides the first of them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.test_cli import airlock, as_agent, configured

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="airlock bootstrap needs root")


def failed(directory: Path) -> dict[str, Any]:
    """Return the event of the job's failure."""
    lines = (directory / "records.jsonl").read_text().splitlines()
    (event,) = [one for one in map(json.loads, lines) if one["event"] == "failed"]
    return dict(event)


def test_a_host_that_refuses_a_call_cannot_start_the_job(tmp_path: Path) -> None:
    """Not a bug: another host, or this one later, may have space."""
    (tmp_path / "state").write_text("not a directory")
    done = airlock("bootstrap", "--config", str(configured(tmp_path)), env=as_agent(tmp_path))
    assert done.returncode == 125, done.stdout
    assert "Not a directory" in done.stdout
    assert "Is a disk or /run full" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert failed(tmp_path)["traceback"] == []


BUG = """
import bootstrap.run
from bootstrap.cli import main

def broken(*_):
    raise KeyError("s3cret-less", "https://ci:hunter2@h/")

bootstrap.run.prepare_host = broken
raise SystemExit(main())
"""


def test_a_bug_leaves_its_traceback_in_the_record_and_not_in_the_log(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", BUG, "bootstrap", "--config", str(configured(tmp_path))],
        env={**as_agent(tmp_path), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 70, done.stdout
    assert "its event `failed` has the traceback" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    event = failed(tmp_path)
    assert event["traceback"][0] == "Traceback (most recent call last):"
    assert any("in broken" in line for line in event["traceback"])
    assert "hunter2" not in json.dumps(event) + done.stdout


def test_a_log_without_space_does_not_change_the_status(tmp_path: Path) -> None:
    """The interpreter's own end would flush the output again, and end with 120."""
    config = configured(tmp_path)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-I", "-m", "bootstrap", "bootstrap", "--config", str(config)],
            env={"PATH": "/usr/bin:/bin"}, stdout=full, check=False,
        )  # fmt: skip
    assert done.returncode == 78


def test_a_wrong_configuration_stays_one_if_it_cannot_be_recorded(tmp_path: Path) -> None:
    config = configured(tmp_path, records="/dev/full")
    env = {**as_agent(tmp_path), "BUILDKITE_CANCEL_GRACE_PERIOD": "never"}
    done = airlock("bootstrap", "--config", str(config), env=env)
    assert done.returncode == 78, done.stdout
    assert "the failure is not in the audit record" in done.stdout
