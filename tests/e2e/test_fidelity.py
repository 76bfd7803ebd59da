"""Promise 8: bytes and values arrive unchanged, and secret ones nowhere else.

Calls of the job to the agent API: tests/lab/contract_cases.py.
"""

import hashlib
import json
from pathlib import Path

import pytest

from tests.attacks.attacker import run
from tests.lab.lab import GATE, Fleet, open_gate

pytestmark = pytest.mark.lab

JOBS = "label=airlock.job"
# 100 MB in which every byte value occurs, without line ends for the agent to mark.
FLOOD = (
    'python3 -c "import sys,hashlib; b=bytes(range(256))*4096; h=hashlib.sha256();\n'
    "for _ in range(100): sys.stdout.buffer.write(b); h.update(b)\n"
    "sys.stdout.buffer.flush(); open('sum','w').write(h.hexdigest())\" | cat; "
    "buildkite-agent meta-data set sum \\$(cat sum) >/dev/null 2>&1"
).replace("\\$", "$")

ODD = {
    "MULTILINE": "first\nsecond\r\nthird\n",
    "QUOTES": "'single' \"double\" `back` $HOME \\n $(touch /tmp/pwned) %q",
    "EQUALS": "a=b==c",
    "EMOJI": "🚀 naïve Ω \u202e",
    "SPACES": "  leading and trailing  ",
    "EMPTY": "",
    "LARGE": "x" * 100_000,
}


def test_log_of_100_megabytes_of_every_byte_is_identical(fleet: Fleet) -> None:
    """Without a PTY, which would turn every newline into two bytes, as it does without Airlock."""
    with fleet.agent("--no-pty"):
        job = fleet.control.enqueue(fleet.env(FLOOD, BUILDKITE_REDACTED_VARS=""))
        assert fleet.control.finished(job, 300) == ("0", "", ""), job.log[-3000:]
    block = bytes(range(256)) * 4096
    log = job.completed().log
    start = log.index(block[:4096])
    flood = log[start : start + 100 * len(block)]
    assert _first_difference(flood, 100 * block) is None
    assert hashlib.sha256(flood).hexdigest() == job.meta_data["sum"]


def _first_difference(got: bytes, expected: bytes) -> tuple[int, bytes, bytes] | None:
    """Return where two logs differ, and what follows in each; None if they are equal."""
    if got == expected:
        return None
    pairs = enumerate(zip(got, expected, strict=False))
    place = next((i for i, (one, other) in pairs if one != other), min(len(got), len(expected)))
    return place, got[place : place + 200], expected[place : place + 16]


def test_odd_variable_values_are_identical_in_job_and_invisible_on_host(fleet: Fleet) -> None:
    dump = "import os,json; json.dump({k:os.environ.get(k) for k in os.environ}, open('e','w'))"
    command = f'python3 -c "{dump}"; buildkite-agent artifact upload e; echo waiting; {GATE}'
    marked = {name: f"{value}marker-of-{name}" for name, value in ODD.items()}
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env(command, **marked))
        fleet.control.wait(job, lambda j: b"\nwaiting" in j.log)
        visible = _visible_on_host(fleet)
        open_gate(job)
        assert fleet.control.finished(job) == ("0", "", "")
    (uploaded,) = job.uploads.values()
    arrived = json.loads(uploaded)
    assert {name: arrived[name] for name in ODD} == marked
    assert "airlock.job" in visible
    assert "marker-of" not in visible
    assert job.token not in visible


def _visible_on_host(fleet: Fleet) -> str:
    """Return what `docker inspect` and every command line on the host show of the job."""
    docker = ["docker", "-H", fleet.lab.docker]
    inspected = run(*docker, "inspect", *run(*docker, "ps", "-aq", "--filter", JOBS).split())
    argv = [_argv(path) for path in Path("/proc").glob("[0-9]*/cmdline")]
    # The command itself is the job's argv; what must not be there are values of its environment.
    return inspected + "\n".join(argv)


def _argv(path: Path) -> str:
    try:
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def test_records_of_job_have_no_secret_value(fleet: Fleet) -> None:
    with fleet.agent():
        job = fleet.control.enqueue(
            fleet.env("true", NPM_TOKEN="npm-secret-value", PLAIN="plain-value")
        )
        assert fleet.control.finished(job) == ("0", "", "")
    records = "".join(path.read_text() for path in (fleet.base / "state/records").glob("*.json"))
    records += fleet.records.read_text()
    assert "plain-value" in records
    assert "npm-secret-value" not in records
    assert job.token not in records


def test_job_out_of_memory_is_explained_in_log(fleet: Fleet) -> None:
    fleet.policy("  - {name: small, allow: {limits: {memory: 256MiB}}}\n")
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env("exec python3 -c \"x = b'x' * (1 << 30)\""))
        assert fleet.control.finished(job) == ("255", "", ""), job.log.decode()
    assert b"the job ran out of memory" in job.log, job.log.decode()
