"""Promise 3, from the first moment on: an image decides what waits at the start gate, and for AWS.

Its /bin/sh runs before anything is proven. What the grant needs is obtained meanwhile, and that may
take as long as AWS takes.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.attacks.attacker import attacker
from tests.lab.engine import eventually
from tests.lab.lab import ROLE, Fleet

pytestmark = pytest.mark.lab

POLICY = f"""
  - name: slow
    when: {{branch: slow}}
    allow: {{role: '{ROLE}'}}
  - name: honest
    when: {{branch: main}}
    allow: {{}}
"""
STS_TAKES = 15.0  # seconds


def inside(pid: int, *command: str) -> str:
    """Run a program in the network of a process, as a container's own would."""
    entered = ["nsenter", "--net", "--target", str(pid), *command]
    return subprocess.run(entered, capture_output=True, text=True, check=False).stdout


def processes() -> set[Path]:
    return set(Path("/run/airlock/jobs").glob("*/process"))


@contextmanager
def waiting_for_aws(fleet: Fleet) -> Iterator[int]:
    """Yield the first process of a container whose grant is not there yet."""
    before = processes()
    fleet.sts.latency = STS_TAKES
    name = f"agent-{len(fleet.control.jobs) + 1}"
    with fleet.agent(name=name):
        env = fleet.env("true", BUILDKITE_AGENT_NAME=name, BUILDKITE_BRANCH="slow")
        job = fleet.control.enqueue(env)
        try:
            eventually(lambda: processes() - before, "its container waits at the start gate")
            (record,) = processes() - before
            yield int(json.loads(record.read_text())["pid"])
            assert not job.finish
            assert b"until" not in job.log  # the session is not there
        finally:
            fleet.sts.latency = 0.0
            fleet.control.finished(job)


def test_container_that_waits_for_aws_is_already_cut_off_from_its_neighbours(fleet: Fleet) -> None:
    """Not only by the engine: the neighbour table is the host's, and its resolver names jobs."""
    fleet.policy(POLICY)
    with attacker(fleet) as neighbour, waiting_for_aws(fleet) as pid:
        eventually(lambda: ports_apart() == 2, "both ports of the bridge are isolated", 3)
        inside(pid, "bash", "-c", f"echo >/dev/udp/{neighbour.address}/9")
        assert neighbour.address not in inside(pid, "ip", "neighbour")
        resolver = "echo >/dev/tcp/127.0.0.11/53 && echo reached"
        assert inside(pid, "bash", "-c", resolver) == ""


def ports_apart() -> int:
    """Return how many ports of the bridge reach no other one that is isolated."""
    shown = subprocess.run(
        ["ip", "-j", "-d", "link", "show", "master", "airlock0"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return sum(one["linkinfo"]["info_slave_data"]["isolated"] for one in json.loads(shown))
