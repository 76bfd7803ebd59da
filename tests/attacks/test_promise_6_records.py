"""Promise 6: a user whose agents forge another's job ids cannot erase what is recorded about those.

Which id a job has is the agent's to say: without `identity = "signed"` nobody confirms it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.job.given import JOB_ID
from tests.test_cli import as_agent, configured

# What a worker of the service does for the agent of a user.
WORKER = """
import os, sys
from functools import partial
from pathlib import Path
from bootstrap.caller import Caller
from bootstrap.commands.bootstrap import job_status
from bootstrap.host import config

host = partial(config.load, Path(sys.argv[1]))
job_status(Caller(host=host, uid=int(sys.argv[2])), dict(os.environ), 1)
"""
VICTIM, ATTACKER = 0, 2001


def run(config: Path, tmp_path: Path, uid: int, **env: str) -> str:
    """Run a job for an agent of this user, and return its log."""
    made = as_agent(tmp_path, **env)
    for path in tmp_path.glob("job-env-*"):
        os.chown(path, uid, uid)
    command = [sys.executable, "-c", WORKER, str(config), str(uid)]
    return subprocess.run(command, env=made, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="jobs are run as root")
def test_record_of_a_job_stays_when_another_user_runs_one_with_its_id(tmp_path: Path) -> None:
    config = configured(tmp_path)
    log = run(config, tmp_path, VICTIM, BUILDKITE_PULL_REQUEST="7")
    assert "Refused by policy" in log
    records = tmp_path / "state/records"
    (of_victim,) = records.iterdir()
    before = of_victim.read_bytes()
    log = run(config, tmp_path, ATTACKER, BUILDKITE_PULL_REQUEST="8", BUILDKITE_BRANCH="x")
    assert "Refused by policy" in log
    assert of_victim.read_bytes() == before
    (other,) = set(records.iterdir()) - {of_victim}
    found = [json.loads(path.read_text()) for path in (of_victim, other)]
    assert [one["job"] for one in found] == [JOB_ID, JOB_ID]
    assert [one["env"]["BUILDKITE_PULL_REQUEST"] for one in found] == ["7", "8"]
