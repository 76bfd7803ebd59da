"""Real processes of one host, against a Parameter Store that throttles or hangs."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.credentials.given import write_credentials
from tests.fakes.simulator import loopback
from tests.fakes.ssm import StrictSsm, failure
from tests.job.given import agent_files, job_env, process_env
from tests.lab.engine import eventually

HERE = "/buildkite/pipelines/storefront"
REPOSITORY = "git@github.com:acme/storefront.git"
PATIENCE = 10  # seconds, of which tries begin in the first 3
# What `airlock bootstrap` does first, with less patience. It prints the outcome and how long it
# waited, but not for a processor, of which a busy machine has too few.
READER = f"""
import json, sys, time
from pathlib import Path
from bootstrap.errors import CannotStart
from bootstrap.host.config import load
from bootstrap.policy.stores.choose import documents
host = load(Path(sys.argv[1]))
print("ready", flush=True)
def busy():
    ran, ready, _ = map(int, Path("/proc/self/schedstat").read_text().split())
    return (ran + ready) / 1e9
input()
began = time.monotonic() - busy()
try:
    outcome = ["read", documents(host, "storefront", patience={PATIENCE}).ages]
except CannotStart as failed:
    outcome = [type(failed).__name__, failed.problem, failed.hint]
print(json.dumps([time.monotonic() - busy() - began, *outcome]))
"""
Process = subprocess.Popen[str]


@pytest.fixture
def ssm() -> Iterator[StrictSsm]:
    with StrictSsm(loopback()) as strict:
        strict.put(f"{HERE}/repository", REPOSITORY)
        yield strict


def configured(tmp_path: Path, ssm: StrictSsm, policy: str = "") -> Path:
    write_credentials(tmp_path / "credentials", "AKIAHOST")
    path = tmp_path / "airlock.toml"
    path.write_text(
        f'[policy]\nstore = "ssm:/buildkite/pipelines"\n{policy}\n'
        f'[aws]\ncredentials = "file:{tmp_path}/credentials"\nssm-endpoint = "{ssm.url}"\n'
        f'[sandbox]\nimage = "job:1"\ndocker = "unix://{tmp_path}/docker.sock"\n'
        f'[paths]\nruntime = "{tmp_path}/run"\nstate = "{tmp_path}/state"\n'
        f'records = "{tmp_path}/records.jsonl"\n'
    )
    path.chmod(0o644)
    return path


def readers(config: Path, number: int) -> list[list[object]]:
    """Let this many processes read the policy at once; return how long each waited, and its end.

    They begin at the same moment, when all have loaded Airlock.
    """
    pipe = subprocess.PIPE
    started = [
        subprocess.Popen(
            [sys.executable, "-c", READER, str(config)], stdin=pipe, stdout=pipe, text=True
        )
        for _ in range(number)
    ]
    for process in started:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    return [json.loads(process.communicate(timeout=120)[0]) for process in started]


def airlock(tmp_path: Path, config: Path, command: str) -> Process:
    """Start `airlock admit` or `airlock bootstrap` as the agent does."""
    tmp_path.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-I", "-m", "bootstrap", command, "--config", str(config)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={"PATH": os.environ["PATH"], **process_env(**agent_files(tmp_path, job_env()))},
    )  # fmt: skip


def test_twenty_jobs_share_one_failure_within_one_patience(tmp_path: Path, ssm: StrictSsm) -> None:
    ssm.fail("*", failure("ThrottlingException", "Rate exceeded"), times=10_000)
    outcomes = readers(configured(tmp_path, ssm), 20)
    assert {tuple(outcome[1:]) for outcome in outcomes} == {tuple(outcomes[0][1:])}
    assert outcomes[0][1] == "NoAnswer"
    assert "Rate exceeded" in str(outcomes[0][2])
    assert "policy.serve-stale" in str(outcomes[0][3])
    assert max(float(str(waited)) for waited, *_ in outcomes) < PATIENCE + 2
    assert len(ssm.calls) <= 40, "the retries of one job, not of twenty"


def test_twenty_jobs_get_an_old_policy_at_once(tmp_path: Path, ssm: StrictSsm) -> None:
    config = configured(tmp_path, ssm, 'cache = "1s"\nserve-stale = "1h"')
    assert [outcome for _, *outcome in readers(config, 1)] == [["read", {}]]
    ssm.fail("*", failure("ThrottlingException"), times=10_000)
    ssm.calls.clear()
    eventually(lambda: _is_old(tmp_path), "the policy is older than policy.cache", 5)
    outcomes = readers(config, 20)
    assert {(outcome[1], tuple(outcome[2])) for outcome in outcomes} == {("read", ("policy",))}  # type: ignore[arg-type]
    assert max(float(str(waited)) for waited, *_ in outcomes) < 5
    assert len(ssm.calls) <= 2


def test_log_and_audit_trail_say_how_old_a_policy_is(tmp_path: Path, ssm: StrictSsm) -> None:
    config = configured(tmp_path, ssm, 'cache = "1s"\nserve-stale = "1h"')
    output, _ = airlock(tmp_path / "first", config, "admit").communicate(timeout=30)
    assert "s old" not in output
    ssm.fail("*", failure("ThrottlingException"), times=10_000)
    eventually(lambda: _is_old(tmp_path), "the policy is older than policy.cache", 5)
    output, _ = airlock(tmp_path / "second", config, "admit").communicate(timeout=30)
    shown = re.search(r"policy: (\d+) s old, because SSM did not answer", output)
    assert shown, output
    lines = (tmp_path / "records.jsonl").read_text().splitlines()
    fresh, old = (json.loads(line)["policy"] for line in lines)
    assert (fresh["age"], fresh["guardrails_age"]) == (None, None)
    assert (old["age"], old["guardrails_age"]) == (int(shown[1]), None)


def _is_old(tmp_path: Path) -> bool:
    known = next(path for path in (tmp_path / "run/policies").iterdir() if not path.suffix)
    return time.time() - float(json.loads(known.read_text())["at"]) > 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("waiting_for", ["ssm", "another job"])
@pytest.mark.parametrize("command", ["admit", "bootstrap"])
def test_a_job_that_waits_ends_at_once_by_a_signal(
    tmp_path: Path, ssm: StrictSsm, command: str, waiting_for: str, number: signal.Signals
) -> None:
    """The hook leaves the decision to `airlock bootstrap`, which dies by the signal."""
    ssm.fail("*", failure("ThrottlingException"), times=10_000)
    config = configured(tmp_path, ssm)
    first = airlock(tmp_path / "first", config, command)
    eventually(lambda: len(ssm.calls) > 1, "the first one retries")
    last = first
    if waiting_for == "another job":
        last = airlock(tmp_path / "last", config, command)
        records = tmp_path / "records.jsonl"
        eventually(lambda: str(records) in _files(last), "the second one waits")
        eventually(lambda: _sleeps(last), "the second one waits")
    last.send_signal(number)
    output, _ = last.communicate(timeout=10)
    assert last.returncode == (0 if command == "admit" else -number), output
    assert "Traceback" not in output
    expected = f"stopped by {number.name}; airlock bootstrap will decide again"
    assert (expected if command == "admit" else "cancelled before the job began") in output
    if first.poll() is None:
        first.kill()
        first.communicate()


def _files(process: Process) -> set[str]:
    found = set()
    for link in Path(f"/proc/{process.pid}/fd").iterdir():
        try:
            found.add(str(link.readlink()))
        except OSError:
            continue
    return found


def _sleeps(process: Process) -> bool:
    return "nanosleep" in Path(f"/proc/{process.pid}/wchan").read_text()


def test_the_next_job_goes_on_when_the_one_that_asks_is_killed(
    tmp_path: Path, ssm: StrictSsm
) -> None:
    ssm.fail("*", failure("ThrottlingException"), times=10_000)
    config = configured(tmp_path, ssm)
    first = airlock(tmp_path / "first", config, "admit")
    eventually(lambda: len(ssm.calls) > 1, "the first one retries")
    second = airlock(tmp_path / "second", config, "admit")
    eventually(lambda: _sleeps(second), "the second one waits")
    ssm._faults.clear()  # noqa: SLF001 - a fake of these tests
    first.kill()
    first.communicate()
    output, _ = second.communicate(timeout=10)
    assert second.returncode == 0
    assert "admitted by rule" in output
