"""The containers' network: a new subnet takes effect on a quiet host, none hides another."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

import pytest

from tests.fakes.control_plane.job import JobOrder
from tests.lab.lab import GATE, Fleet, open_gate
from tests.lab.world import ip

pytestmark = pytest.mark.lab

OTHER = "198.18.128.0/20"
DEVICE = "airlocktest0"


def use(fleet: Fleet, subnet: str) -> None:
    text = fleet.config.read_text().replace("[sandbox]", f'[sandbox]\nsubnet = "{subnet}"')
    fleet.config.write_text(text)


def address(fleet: Fleet, job_id: str) -> IPv4Address:
    events = fleet.events(job_id)
    return IPv4Address(next(e["address"] for e in events if e["event"] == "sandbox"))


def test_changed_subnet_takes_effect_when_no_job_runs(fleet: Fleet) -> None:
    with fleet.agent(), fleet.agent(name="agent-2"):
        running = fleet.control.enqueue(JobOrder(env=fleet.env(GATE), agent="agent-1"))
        fleet.control.wait(running, lambda job: b"until buildkite-agent" in job.log)
        use(fleet, OTHER)
        other = fleet.env("true", BUILDKITE_AGENT_NAME="agent-2")
        waiting = fleet.control.enqueue(JobOrder(env=other, agent="agent-2"))
        assert fleet.control.finished(waiting)[0] == "-1", waiting.log.decode()
        assert f"job {running.id} of storefront".encode() in waiting.log
        assert f"expected {OTHER}".encode() in waiting.log
        open_gate(running)
        assert fleet.control.finished(running)[0] == "0", running.log.decode()
        later = fleet.control.enqueue(JobOrder(env=fleet.env("true"), agent="agent-1"))
        assert fleet.control.finished(later)[0] == "0", later.log.decode()
    assert address(fleet, running.id) not in IPv4Network(OTHER)
    assert address(fleet, later.id) in IPv4Network(OTHER)


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """Give this host a network that overlaps with the subnet."""
    ip("link", "add", DEVICE, "type", "bridge")
    ip("addr", "add", "198.18.250.7/24", "dev", DEVICE)
    ip("link", "set", DEVICE, "up")
    yield "198.18.250.0/24"
    ip("link", "del", DEVICE)


def test_subnet_that_this_host_uses_elsewhere_is_refused(fleet: Fleet, elsewhere: str) -> None:
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env("echo I ran"))
        assert fleet.control.finished(job)[0] == "78"
        assert b"sandbox.subnet 198.18.240.0/20 overlaps with 198.18.250" in job.log
        assert f"on the device {DEVICE}".encode() in job.log
        use(fleet, OTHER)
        job = fleet.control.enqueue(fleet.env("echo I ran"))
        assert fleet.control.finished(job)[0] == "0", job.log.decode()
